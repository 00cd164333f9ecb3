// A chat completion as it arrives: POST, then server-sent events.

/** What the API refused or could not do, in its own words. */
export class ApiError extends Error {
  constructor({ message, code, requestId, status }) {
    super(message);
    Object.assign(this, { code, requestId, status });
  }
}

/** The headers of a request; a key travels in no other way. */
export function headers(key, more = {}) {
  return key ? { ...more, authorization: `Bearer ${key}` } : more;
}

/** The error in a response, from this server or a proxy. */
export async function failure(response) {
  const body = await response.json().catch(() => null);
  return new ApiError({
    message: body?.error?.message ?? `the server answered with status ${response.status} and no explanation`,
    code: body?.error?.code ?? null,
    requestId: body?.request_id ?? response.headers.get("x-request-id"),
    status: response.status,
  });
}

/** Ask for a completion and yield its chunks. Throws ApiError, and AbortError once `signal` is aborted. */
export async function* complete(body, { key, signal }) {
  const response = await fetch("v1/chat/completions", {
    method: "POST",
    headers: headers(key, { "content-type": "application/json", accept: "text/event-stream" }),
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) throw await failure(response);
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) {
      throw new ApiError({
        message: chunk.error.message,
        code: chunk.error.code ?? null,
        requestId: chunk.request_id ?? response.headers.get("x-request-id"),
        status: response.status,
      });
    }
    yield chunk;
  }
  throw new ApiError({
    message: "the connection ended before the answer did",
    code: null,
    requestId: response.headers.get("x-request-id"),
    status: response.status,
  });
}

/** The data of each event, however the network has cut the lines. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let data = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines.map((one) => one.replace(/\r$/, ""))) {
      if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
      if (line === "" && data.length) {
        yield data.join("\n");
        data = [];
      }
    }
  }
}
