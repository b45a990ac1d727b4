// Moving pictures of clips, and the window that shows one clip with everything known about it.
// A picture is decoded when it comes into view. Where motion is unwelcome its first frame stands still.

class Pictures {
  constructor(clips, packed) {
    this.clips = clips;
    this.side = packed.side;
    this.webp = new Map(packed.clips.map((clip, place) => [clip, packed.webp[place]]));
    this.isMoving = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.dialog = document.body.appendChild(make("dialog", { "aria-labelledby": "clip-title" }));
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
  }

  has(clip) {
    return this.webp.has(clip);
  }

  // An image, or the first frame of it on a canvas.
  picture(clip, side) {
    const alt = `${PICTURE_WORD} ${nameOf(this.clips, "gloss", clip)}, ${this.who(clip)}`;
    const image = make("img", { width: side, height: side, loading: "lazy", decoding: "async", alt });
    image.src = `data:image/webp;base64,${this.webp.get(clip)}`;
    if (this.isMoving) return image;
    const canvas = make("canvas", { width: side, height: side, role: "img", "aria-label": alt });
    image.loading = "eager";
    image.decode().then(() => canvas.getContext("2d").drawImage(image, 0, 0, side, side));
    return canvas;
  }

  who(clip) {
    return COLUMNS.slice(0, 3).map((column) => nameOf(this.clips, column, clip)).filter((name) => name !== ABSENT).join(" · ");
  }

  figure(clip, ...above) {
    const seconds = secondsOf(this.clips, clip);
    const video = baseName(nameOf(this.clips, "video", clip));
    const open = make("button", { type: "button", class: "picture", title: "Larger", onclick: () => this.open(clip) });
    open.append(this.picture(clip, this.side));
    const caption = make("figcaption", {}, ...above, make("b", {}, this.who(clip) || `clip ${this.clips.position[clip]}`));
    caption.append(make("span", {}, ...breakable(video)), make("span", {}, seconds));
    return make("figure", {}, open, caption);
  }

  open(clip) {
    const { clips } = this;
    const facts = {
      clip: String(clips.position[clip]),
      signer: nameOf(clips, "signer", clip),
      view: nameOf(clips, "view", clip),
      split: nameOf(clips, "split", clip),
      source: nameOf(clips, "source", clip),
      video: nameOf(clips, "video", clip),
      seconds: secondsOf(clips, clip),
    };
    const found = clips.findings.filter(({ rows }) => rows.includes(clip)).map(({ title }) => title);
    if (found.length) facts.found = found.join("; ");
    if (!clips.ok[clip]) facts.failed = nameOf(clips, "error", clip);
    else facts["to play it"] = `${clips.command} ${clips.position[clip]} --out clip.mp4`;
    const list = make("dl", { class: "facts" });
    for (const [name, value] of Object.entries(facts)) list.append(make("dt", {}, wordOf(name)), make("dd", {}, value));
    const close = make("button", { type: "button", onclick: () => this.dialog.close() }, "Close");
    const title = make("h2", { id: "clip-title" }, nameOf(clips, "gloss", clip));
    this.dialog.replaceChildren(title, ...(this.has(clip) ? [this.picture(clip, 320)] : []), list, close);
    this.dialog.showModal();
  }
}
