// Shows what the session tells by server-sent events; every text goes in as text, never as markup.
const MOST_ROWS = 1000;
const part = (id) => document.getElementById(id);
const seconds = (value) => value.toFixed(2);
const events = new EventSource("events");
const on = (kind, show) => events.addEventListener(kind, (event) => show(JSON.parse(event.data)));

on("picture", ({ source }) => {
  part("picture").src = source;
  part("picture").hidden = false;
  part("state").textContent = "";
});
on("window", ({ gloss, confidence, latency }) => {
  part("gloss").textContent = gloss;
  part("confidence").textContent = confidence.toFixed(2);
  part("latency").textContent = `${Math.round(1000 * latency)} ms`;
});
on("sign", ({ start, end, gloss, confidence }) => {
  const row = part("signs").insertRow(0);
  for (const text of [gloss, confidence.toFixed(2), seconds(start), seconds(end)]) row.insertCell().textContent = text;
  row.cells[0].className = "name";
  if (part("signs").rows.length > MOST_ROWS) part("signs").deleteRow(-1);
});
on("statistics", (told) => {
  part("frames").textContent = told.frames.toLocaleString();
  part("dropped").textContent = `${told.dropped_frames} dropped`;
  if (told.latency_p99_seconds !== null) {
    part("latency99").textContent = `99 % within ${Math.round(1000 * told.latency_p99_seconds)} ms`;
  }
});
on("end", () => {
  part("state").textContent = "Ended.";
  events.close();
});
events.onerror = () => {
  if (events.readyState !== EventSource.CLOSED) part("state").textContent = "The connection is lost; trying again ...";
};
