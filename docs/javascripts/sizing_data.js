// Generated from k8s/planning/sizing.py by `make docs`.
const SIZING = {
  "BYTES": 2,
  "PAGE_TOKENS": 256,
  "QUESTION_TOKENS": 40,
  "HOURS_A_MONTH": 730,
  "MEMORY_FRACTION": 0.9,
  "SEQUENCES": 64,
  "RESERVE_BYTES": 2147483648,
  "COMPUTE_SHARE": 0.4,
  "BANDWIDTH_SHARE": 0.6,
  "PARALLEL_SHARE": 0.8,
  "PLANNED_LOAD": 0.7,
  "LEAST_BATCH": 4,
  "GPUS_PER_REPLICA": [
    1,
    2,
    4,
    8
  ],
  "GPUS": {
    "l4": {
      "memory": 24000000000.0,
      "flops": 121000000000000.0,
      "bandwidth": 300000000000.0
    },
    "a100": {
      "memory": 80000000000.0,
      "flops": 312000000000000.0,
      "bandwidth": 2039000000000.0
    },
    "h100": {
      "memory": 80000000000.0,
      "flops": 989000000000000.0,
      "bandwidth": 3350000000000.0
    },
    "h200": {
      "memory": 141000000000.0,
      "flops": 989000000000000.0,
      "bandwidth": 4800000000000.0
    }
  },
  "MODELS": {
    "OpenGVLab/InternVL2-8B": {
      "vision_parameters": 303640576,
      "text_parameters": 7012876288,
      "embedding_parameters": 758194176,
      "cache_bytes_per_token": 131072,
      "attention_width": 131072,
      "patches": 1025,
      "tokens_per_tile": 256
    },
    "embedded": {
      "vision_parameters": 316032,
      "text_parameters": 655360,
      "embedding_parameters": 57344,
      "cache_bytes_per_token": 768,
      "attention_width": 384,
      "patches": 17,
      "tokens_per_tile": 4
    }
  }
};
