// How the model cuts an image. The server answers that, so the rule is written once.

import { failure, headers } from "./stream.js";

/** The cut of an upright image of this size; null where the model takes images in another way. */
export async function cutOf(width, height, key) {
  const response = await fetch(`v1/tiles?width=${width}&height=${height}`, { headers: headers(key) });
  if (!response.ok) throw await failure(response);
  return (await response.json()).cut;
}

/** Draw the tiles over the image, numbered in the order in which the model reads them. */
export function draw(overlay, cut) {
  overlay.replaceChildren();
  if (cut === null) return;
  overlay.style.setProperty("--columns", cut.columns);
  overlay.style.setProperty("--rows", cut.rows);
  for (let index = 0; index < cut.columns * cut.rows; index += 1) {
    const tile = document.createElement("span");
    tile.style.setProperty("--index", index);
    tile.textContent = index + 1;
    overlay.append(tile);
  }
}

/** The cut in words. */
export function inWords(cut) {
  const grid = cut.columns * cut.rows === 1 ? "1 tile" : `${cut.columns} × ${cut.rows} tiles`;
  const more = cut.thumbnail ? " and a thumbnail" : "";
  return `${grid} of ${cut.tile_size} px${more}: ${cut.tokens.toLocaleString("en")} tokens`;
}
