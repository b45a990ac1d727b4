// The signs of a video as rows that a person corrects. A sign is {start, end, gloss, confidence, others}.

const TIME_STEP = 0.01;
const PLAYED_TOGETHER = 24;
const rounded = (seconds) => Math.round(seconds * 1000) / 1000;

class Signs {
  constructor(table, player) {
    this.table = table;
    this.player = player;
    this.all = [];
    this.url = null;
    // Only what is seen moves: a video of its own for each row is work.
    this.seen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) isIntersecting && !still.matches ? target.play().catch(() => {}) : target.pause();
    });
  }

  show(signs, url) {
    this.all = signs;
    this.url = url;
    this.draw();
  }

  add(seconds) {
    const sign = { start: rounded(seconds), end: rounded(seconds + 0.8), gloss: "", confidence: null, others: [] };
    this.all.push(sign);
    this.draw();
    this.table.rows[this.all.indexOf(sign)].querySelector("input").focus();
  }

  draw() {
    this.seen.disconnect();
    this.all.sort((one, other) => one.start - other.start);
    this.table.replaceChildren(...this.all.map((sign, place) => this.row(sign, place)));
    showWords();
  }

  row(sign, place) {
    const number = (name, step) =>
      make("input", { type: "number", min: 0, step, value: sign[name], "data-label": name,
        onchange: ({ target }) => { if (target.checkValidity() && target.value !== "") this.set(sign, name, target.valueAsNumber); } });
    const gloss = make("input", { type: "text", list: "glosses", value: sign.gloss, maxlength: 100, "data-label": "sign",
      onchange: ({ target }) => this.set(sign, "gloss", target.value.trim()) });
    const confidence = make("td", { "data-head": "confidence" }, sign.confidence === null ? ABSENT : sign.confidence.toFixed(2));
    const others = sign.others.map(([name, probability]) =>
      make("button", { type: "button", onclick: () => { gloss.value = name; this.set(sign, "gloss", name); } }, `${name} ${probability.toFixed(2)}`));
    const remove = () => { this.all.splice(this.all.indexOf(sign), 1); this.draw(); };
    return make("tr", {},
      make("td", { class: "name" }, this.clip(sign, place)), make("td", { class: "name" }, gloss),
      make("td", { "data-head": "start" }, number("start", TIME_STEP)), make("td", { "data-head": "end" }, number("end", TIME_STEP)), confidence,
      make("td", { class: "name", "data-head": "others" }, ...others.flatMap((button) => [button, " "])),
      make("td", {}, make("button", { type: "button", "data-word": "remove", onclick: remove })));
  }

  // What a person says is not the model's: it has no confidence any more.
  set(sign, name, value) {
    sign[name] = value;
    sign.confidence = null;
    const place = this.all.indexOf(sign);
    this.table.rows[place].cells[4].textContent = ABSENT;
  }

  clip(sign, place) {
    const button = make("button", { type: "button", class: "picture", "data-label": "play", onclick: () => this.play(sign) });
    if (place >= PLAYED_TOGETHER || this.url === null) return make("button", { type: "button", "data-word": "play", onclick: () => this.play(sign) });
    const video = make("video", { muted: true, playsinline: true, preload: "metadata", tabindex: -1 });
    video.muted = true;
    video.src = this.url;
    const begin = () => { video.currentTime = sign.start; };
    video.addEventListener("loadedmetadata", begin);
    video.addEventListener("timeupdate", () => { if (video.currentTime >= sign.end || video.currentTime < sign.start - 0.5) begin(); });
    video.addEventListener("ended", () => { begin(); video.play().catch(() => {}); });
    this.seen.observe(video);
    button.append(video);
    return button;
  }

  play(sign) {
    this.player.currentTime = sign.start;
    this.player.play().catch(() => {});
    const end = () => {
      if (this.player.currentTime < sign.end && !this.player.paused) return;
      this.player.pause();
      this.player.removeEventListener("timeupdate", end);
    };
    this.player.addEventListener("timeupdate", end);
  }
}

const still = matchMedia("(prefers-reduced-motion: reduce)");
const signOf = (found, clips) => ({
  start: rounded(found.start_time), end: rounded(found.end_time), gloss: found.predicted_class_name,
  confidence: found.confidence, others: othersOf(found, clips),
});
