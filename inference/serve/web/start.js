// Puts the page together: one video at a time, from a file or the camera, its signs, and what is saved of them.

const signs = new Signs(part("signs"), part("video"));
const page = { name: "", video: null, document: null, seconds: 0, camera: null };

function tell(text, failure = "") {
  part("told").textContent = text;
  part("failed").textContent = failure;
}

async function answer(video, name, seconds = 0) {
  Object.assign(page, { video, name, document: null, seconds });
  part("answer").hidden = true;
  const player = part("video");
  URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(video);
  player.hidden = false;
  part("chosen").textContent = name;
  tell(word("sending"));
  try {
    const document = await timelineOf(video, name, (windows) => { if (page.video === video) tell(word("answering", windows)); });
    if (page.video !== video) return; // another one was chosen
    page.document = document;
    const failure = (document.errors ?? []).map(({ error }) => error)[0] ?? "";
    signs.show(document.timeline.map((sign) => signOf(sign, document.clips)), player.src);
    part("answer").hidden = false;
    tell(document.timeline.length ? word("done", document.timeline.length) : word("none"), failure);
  } catch (error) {
    if (page.video === video) tell("", error.message);
  }
}

async function useCamera() {
  const soFar = [];
  const camera = new Camera(part("video"), (sign) => {
    if (page.camera !== camera) return;
    soFar.push(sign);
    signs.show(soFar, null);
    part("answer").hidden = false;
    tell(word("recording", soFar.length));
  }, (number) => { if (page.camera === camera) tell(word("recording", soFar.length), word("left_out", number)); });
  try {
    await camera.start();
  } catch (error) {
    tell("", word("no_camera", error.message));
    return;
  }
  page.camera = camera;
  part("camera").hidden = true;
  part("stop").hidden = false;
  part("stop").focus();
  tell(word("recording", 0));
}

async function stopCamera() {
  const { camera } = page;
  page.camera = null;
  part("camera").hidden = false;
  part("stop").hidden = true;
  const video = await camera.stop();
  const ending = video.type.includes("mp4") ? "mp4" : "webm";
  const time = new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
  await answer(video, `signs-${time}.${ending}`, camera.seconds);
}

// A recording does not say how long it is; a file does.
const secondsOfVideo = () => (Number.isFinite(part("video").duration) ? part("video").duration : page.seconds);

async function saved(work) {
  try {
    await work();
  } catch (error) {
    tell("", error.message);
  }
}

async function start() {
  showWords();
  part("language").addEventListener("click", () => { language = language === "ko" ? "en" : "ko"; showWords(); });
  part("file").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    target.value = ""; // so that the same one can be chosen again
    if (file) answer(file, file.name);
  });
  // What the browser cannot show may have an answer all the same.
  part("video").addEventListener("error", ({ target }) => { target.hidden = true; });
  const drop = document.body;
  drop.addEventListener("dragover", (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) answer(file, file.name);
  });
  part("camera").addEventListener("click", useCamera);
  part("stop").addEventListener("click", stopCamera);
  part("add").addEventListener("click", () => signs.add(part("video").currentTime));
  part("save-json").addEventListener("click", () =>
    save(textOf({ ...page.document, timeline: timelineDocument(signs.all) }), `${stemOf(page.name)}.json`, "application/json"));
  for (const format of ["srt", "eaf"]) part(`save-${format}`).addEventListener("click", () => saved(() => saveSubtitles(format, signs.all, page.name)));
  part("save-labels").addEventListener("click", () =>
    save(textOf(labelDocument(signs.all, page.name, secondsOfVideo())), `${stemOf(page.name)}_morpheme.json`, "application/json"));
  part("save-video").addEventListener("click", () => save(page.video, page.name, page.video.type));
  part("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    token = part("token").value;
    sessionStorage.setItem("token", token);
    tell("");
    saved(showModel);
  });
  await saved(showModel);
  document.body.dataset.ready = "true";
}

async function showModel() {
  const { glosses, idle_gloss } = await (await ask("v1/model")).json();
  idleGloss = idle_gloss;
  part("glosses").replaceChildren(...glosses.filter((gloss) => gloss !== idle_gloss).map((gloss) => make("option", { value: gloss })));
}

start();
