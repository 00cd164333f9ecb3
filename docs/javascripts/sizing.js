// The arithmetic of k8s/planning/sizing.py, for the calculator; a test runs both on the same inputs.
// SIZING, the constants and GPUs that both use, is in sizing_data.js.

const first = (value) => Array.isArray(value) ? value[0] : value;

/** What a checkpoint's config.json says about memory and work. Throws where it describes another kind of model. */
function modelShape(config) {
  const text = config.text_config || config.llm_config;
  const vision = config.vision_config;
  const hidden = text.hidden_size, layers = text.num_hidden_layers, heads = text.num_attention_heads;
  const head = text.head_dim || Math.floor(hidden / heads);
  const cached = head * (text.num_key_value_heads || heads);
  const layer = 2 * hidden * heads * head + 2 * hidden * cached + 3 * hidden * text.intermediate_size;
  const tied = config.tie_word_embeddings ?? text.tie_word_embeddings ?? false;
  const wide = vision.hidden_size, side = first(vision.image_size), patch = first(vision.patch_size);
  const block = 4 * wide ** 2 + 2 * wide * vision.intermediate_size;
  const patches = Math.floor(side / patch) ** 2;
  const ratio = config.downsample_ratio ?? 0.5;
  const shuffled = Math.round(wide / ratio ** 2);
  const shape = {
    vision_parameters: vision.num_hidden_layers * block + 3 * patch ** 2 * wide + patches * wide,
    text_parameters: layers * layer + shuffled * hidden + hidden ** 2,
    embedding_parameters: (tied ? 1 : 2) * text.vocab_size * hidden,
    cache_bytes_per_token: 2 * layers * cached * SIZING.BYTES,
    attention_width: layers * heads * head,
    patches: patches + 1,
    tokens_per_tile: config.image_seq_length || Math.round(patches * ratio ** 2),
  };
  if (!Object.values(shape).every((value) => value > 0)) throw new TypeError("a field is missing");
  return shape;
}

const weightBytes = (shape) =>
  SIZING.BYTES * (shape.vision_parameters + shape.text_parameters + shape.embedding_parameters);

/** Seconds of a replica for one caption among `batch`; `speed`: how many single GPUs it is worth. */
function captionSeconds(shape, gpu, work, batch, speed) {
  const prompt = work.tiles * shape.tokens_per_tile + SIZING.QUESTION_TOKENS;
  const active = shape.text_parameters + shape.embedding_parameters / 2;
  const vision = work.tiles * 2 * shape.patches * shape.vision_parameters;
  const read = 2 * prompt * shape.text_parameters + 2 * shape.attention_width * prompt ** 2;
  const write = 2 * work.tokens * active;
  const computing = (vision + read + write) / (gpu.flops * SIZING.COMPUTE_SHARE);
  const cache = (prompt + work.tokens / 2) * shape.cache_bytes_per_token;
  const reading = work.tokens * (SIZING.BYTES * active / batch + cache) / (gpu.bandwidth * SIZING.BANDWIDTH_SHARE);
  return (computing + reading) / speed;
}

function sizeWith(shape, gpu, work, count) {
  const free = count * (gpu.memory * SIZING.MEMORY_FRACTION - SIZING.RESERVE_BYTES) - weightBytes(shape);
  const pages = Math.floor(free / (SIZING.PAGE_TOKENS * shape.cache_bytes_per_token));
  const tokens = work.tiles * shape.tokens_per_tile + SIZING.QUESTION_TOKENS + work.tokens;
  const each = Math.ceil(tokens / SIZING.PAGE_TOKENS);
  const batch = Math.min(Math.floor(pages / each), SIZING.SEQUENCES);
  if (batch < SIZING.LEAST_BATCH) return null;
  const rate = 1 / captionSeconds(shape, gpu, work, batch, 1 + (count - 1) * SIZING.PARALLEL_SHARE);
  const replicas = Math.ceil(work.images_per_second / (rate * SIZING.PLANNED_LOAD));
  return {
    gpus_per_replica: count, replicas, batch, pages, pages_per_caption: each, captions_per_second: rate,
    gpu_hours_a_month: count * replicas * SIZING.HOURS_A_MONTH,
  };
}

/** The cheapest replica, and how many are needed; null where eight GPUs do not hold the model. */
function size(shape, gpu, work) {
  return SIZING.GPUS_PER_REPLICA.map((count) => sizeWith(shape, gpu, work, count)).filter(Boolean).reduce(
    (best, one) => best === null || one.gpu_hours_a_month < best.gpu_hours_a_month ? one : best, null);
}
