// The form of sizing.md. Nothing leaves the page.
{
  const here = document.querySelector("#calculator");
  const models = Object.keys(SIZING.MODELS).map((name) => `<option>${name}</option>`).join("");
  const gpus = Object.keys(SIZING.GPUS);
  here.innerHTML = `
    <style>
      #calculator label { display: inline-block; margin-right: 1rem; }
      #calculator :is(input, select) {
        background: inherit; border: 1px solid currentcolor; border-radius: 0.1rem; color: inherit; padding: 0.1rem 0.4rem;
      }
      #calculator [type=number] { width: 5rem; }
      #calculator option { background: Canvas; color: CanvasText; }
      #calculator [hidden] { display: none; }
    </style>
    <form>
      <p><label>Model <select name="model">${models}<option value="">its config.json ...</option></select></label>
        <label hidden>config.json <input name="config" type="file" accept=".json"></label></p>
      <p><label>Images per second <input name="images_per_second" type="number" min="0.001" step="any" value="20"></label>
        <label>Tiles of an image <input name="tiles" type="number" min="1" max="128" value="13"></label>
        <label>Tokens of a caption <input name="tokens" type="number" min="1" max="1000000" value="200"></label></p>
    </form>
    <p role="status"></p>
    <table><thead><tr><th>GPU</th><th>GPUs for each replica</th><th>replicas</th><th>captions at a time</th>
      <th>cache pages</th><th>expected captions/s, each</th><th>GPU hours a month</th></tr></thead><tbody></tbody></table>
    <p><label>Values file for <select name="gpu">${gpus.map((name) => `<option>${name}</option>`).join("")}</select></label></p>
    <pre><code></code></pre>`;
  const form = here.querySelector("form"), status = here.querySelector("[role=status]");
  const chosen = here.querySelector("[name=gpu]"), values = here.querySelector("code");
  const row = (cells) => `<tr><td>${cells.join("</td><td>")}</td></tr>`;
  const number = (value) => value.toLocaleString("en-US");

  function valuesFile(found) {
    return `models:
  main:
    source: NAME OR PATH
    nodePool: gpu
    gpusPerReplica: ${found.gpus_per_replica}
    replicas: ${found.replicas}
    settings:
      max_concurrent_sequences: ${found.batch}
nodePools:
  gpu:
    gpusPerNode: ${found.gpus_per_replica}
`;
  }

  async function readShape() {
    const name = form.elements.model.value, file = form.elements.config.files[0];
    form.elements.config.parentElement.hidden = name !== "";
    if (name) return SIZING.MODELS[name];
    if (!file) throw new Error("Choose the config.json of a checkpoint.");
    try {
      return modelShape(JSON.parse(await file.text()));
    } catch (error) {
      throw new Error(`${file.name} does not describe a vision tower and a language model with attention ` +
        `(${error.message}); other families must be measured.`);
    }
  }

  async function show() {
    const body = here.querySelector("tbody");
    try {
      if (!form.reportValidity()) return;
      const shape = await readShape();
      const work = Object.fromEntries(["images_per_second", "tiles", "tokens"].map(
        (name) => [name, Number(form.elements[name].value)]));
      const sizes = gpus.map((name) => [name, size(shape, SIZING.GPUS[name], work)]);
      body.innerHTML = sizes.map(([name, found]) => row(found ? [
        name, found.gpus_per_replica, number(found.replicas), found.batch, number(found.pages),
        found.captions_per_second.toFixed(2), number(found.gpu_hours_a_month),
      ] : [name, "eight do not hold it", "", "", "", "", ""])).join("");
      const found = Object.fromEntries(sizes)[chosen.value];
      values.textContent = found ? valuesFile(found) : `# eight GPUs of kind ${chosen.value} do not hold the model`;
      status.textContent = `Weights: ${(weightBytes(shape) / 2 ** 30).toFixed(1)} GiB.`;
    } catch (error) {
      body.innerHTML = values.textContent = "";
      status.textContent = error.message;
    }
  }

  here.addEventListener("input", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  show();
}
