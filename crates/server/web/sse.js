/** Server-sent events, from a response's body. */

/** An event longer than this is none of ours. */
const EVENT_CHARS_MAX = 8 << 20;

/**
 * The data of each event.
 *
 * @param {ReadableStream<Uint8Array>} body
 * @returns {AsyncGenerator<string>}
 */
export async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) {
        return;
      }
      rest += value.replaceAll("\r", "");
      const frames = rest.split("\n\n");
      rest = frames.pop() ?? "";
      if (rest.length > EVENT_CHARS_MAX) {
        throw new Error("the server sent an event without end");
      }
      for (const frame of frames) {
        const data = dataOf(frame);
        if (data !== null) {
          yield data;
        }
      }
    }
  } finally {
    // Whoever stops reading ends the answer at the server.
    reader.cancel().catch(() => {});
  }
}

function dataOf(frame) {
  const lines = frame.split("\n").filter((line) => line.startsWith("data:"));
  return lines.length ? lines.map((line) => line.slice(5).trimStart()).join("\n") : null;
}
