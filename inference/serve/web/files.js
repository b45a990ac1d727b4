// What can be saved: answers, subtitles, and labels that build-cache reads beside the video.

function save(content, name, type = "application/octet-stream") {
  const url = URL.createObjectURL(new Blob([content], { type }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

const stemOf = (name) => name.replace(/\.[^.]*$/, "") || name;
const textOf = (document) => JSON.stringify(document, null, 2) + "\n";
// A row without a sign, or whose end is not behind its start, says nothing.
const whole = (signs) => signs.filter(({ gloss, start, end }) => gloss !== "" && end > start);

const timelineDocument = (signs) =>
  whole(signs).map(({ start, end, gloss, confidence }) => ({ start_time: start, end_time: end, predicted_class_name: gloss, confidence }));

// The form of AIHub's *_morpheme.json.
function labelDocument(signs, name, duration) {
  const data = whole(signs).map(({ start, end, gloss }) => ({ start, end, attributes: [{ name: gloss }] }));
  return { metaData: { url: name, name, duration, exportedOn: new Date().toISOString().slice(0, 10) }, data };
}

async function saveSubtitles(format, signs, name) {
  const query = new URLSearchParams({ format, name });
  const answer = await ask(`v1/subtitles?${query}`, JSON.stringify(timelineDocument(signs)));
  save(await answer.text(), `${stemOf(name)}.${format}`);
}
