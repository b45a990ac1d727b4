// Requests to the server, with the token if it wants one. Errors are the server's own words.

let token = sessionStorage.getItem("token") ?? "";

let idleGloss = null; // what the model answers where no sign is made, if it has learned that

async function ask(path, body, more = {}) {
  const headers = { "Accept-Language": language, ...more };
  if (token) headers.Authorization = `Bearer ${token}`;
  let answer;
  try {
    answer = await fetch(path, { method: body === undefined ? "GET" : "POST", body, headers });
  } catch {
    throw new Error(word("gone"));
  }
  part("token-form").hidden = answer.status !== 401;
  // A proxy between says no in words of its own, which are no JSON.
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error ?? `${answer.status} ${answer.statusText}`);
  return answer;
}

// The events of a stream, as pairs of a kind and a document.
async function* eventsOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (left + value).split("\n\n");
    left = events.pop();
    for (const event of events) {
      const found = /^event: (\w+)\ndata: ([^]*)$/.exec(event);
      if (found) yield [found[1], JSON.parse(found[2])];
    }
  }
}

// The document of a video's timeline; `told` hears how many windows have an answer.
async function timelineOf(video, name, told) {
  const query = new URLSearchParams({ mode: "timeline", "top-k": 4, pad: "true", name });
  if (idleGloss) query.set("idle-gloss", idleGloss);
  const answer = await ask(`v1/predict?${query}`, video, { Accept: "text/event-stream" });
  let windows = 0;
  for await (const [kind, document] of eventsOf(answer)) {
    if (kind === "window") told(++windows);
    if (kind === "error") throw new Error(document.error);
    if (kind === "result") return document;
  }
  throw new Error(word("gone"));
}

// Other glosses of a sign, by their mean probability in the windows whose middle is in it.
function othersOf(sign, clips) {
  const inside = clips.filter((clip) => {
    const middle = (clip.start_time + clip.end_time) / 2;
    return sign.start_time <= middle && middle <= sign.end_time;
  });
  const sums = new Map();
  for (const clip of inside) {
    for (const { predicted_class_name: gloss, confidence } of clip.top_k ?? [clip]) sums.set(gloss, (sums.get(gloss) ?? 0) + confidence);
  }
  sums.delete(sign.predicted_class_name);
  sums.delete(idleGloss);
  return [...sums].map(([gloss, sum]) => [gloss, sum / inside.length]).sort((one, other) => other[1] - one[1]).slice(0, 3);
}
