// The body of a request, the same for the page itself and for the code that it shows.

/** A chat completion about one image. `url` is a data URL or a link; the server decides about fields that are null. */
export function body({ model, url, prompt, maxTokens, temperature }) {
  const made = {
    model,
    messages: [
      {
        role: "user",
        content: [
          { type: "image_url", image_url: { url } },
          { type: "text", text: prompt },
        ],
      },
    ],
  };
  if (maxTokens !== null) made.max_tokens = maxTokens;
  if (temperature !== null) made.temperature = temperature;
  made.stream = true;
  made.stream_options = { include_usage: true };
  return made;
}
