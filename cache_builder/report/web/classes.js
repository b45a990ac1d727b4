// Classes with their counts and moving contact sheets.

const CLASSES_A_PAGE = 24;
const CLASS_ORDERS = {
  "as in the vocabulary": () => 0,
  "fewest clips first": (a, b) => a.clips.length - b.clips.length,
  "most clips first": (a, b) => b.clips.length - a.clips.length,
  "by name": (a, b) => byName(a.gloss, b.gloss),
};

class Classes {
  constructor(clips, pictures, place, choose) {
    Object.assign(this, { clips, pictures, choose, classes: [], sorted: [] });
    this.order = make("select", { id: "class-order", onchange: () => this.sort() });
    this.order.append(...Object.keys(CLASS_ORDERS).map((name) => make("option", {}, name)));
    const still = make("input", { type: "checkbox", id: "moving", onchange: () => this.move(still.checked) });
    still.checked = pictures.isMoving;
    const bar = make("p", { class: "tools screen" });
    bar.append(make("label", { for: "class-order" }, "order ", this.order), make("label", { for: "moving" }, still, " moving"));
    this.list = make("div", { class: "classes" });
    const pages = make("nav", { class: "pager screen", "aria-label": "Pages of classes" });
    place.append(bar, this.list, pages);
    this.pager = new Pager(pages, CLASSES_A_PAGE, (first, end) => this.draw(first, end));
  }

  move(isMoving) {
    this.pictures.isMoving = isMoving;
    this.pager.show(this.pager.page);
  }

  show(chosen, glosses, isNarrowed) {
    const groups = Array.from(glosses, () => []);
    for (const clip of chosen) groups[this.clips.gloss.codes[clip]].push(clip);
    this.classes = groups
      .map((clips, code) => ({ code, clips, gloss: shown(this.clips.gloss.names[code]) }))
      .filter(({ code, clips }) => clips.length || (glosses[code] && !isNarrowed));
    this.sort();
    return this.classes.length;
  }

  sort() {
    this.sorted = [...this.classes].sort(CLASS_ORDERS[this.order.value]);
    this.pager.reset(this.sorted.length);
  }

  draw(first, end) {
    this.list.replaceChildren(...this.sorted.slice(first, end).map((entry) => this.card(entry)));
  }

  card({ gloss, clips }) {
    const ok = clips.filter((clip) => this.clips.ok[clip]);
    const failed = clips.length - ok.length;
    const counts = [counted(ok.length, "clip")];
    const bySplit = grouped(ok.map((clip) => this.clips.split.codes[clip]), this.clips.split.names.length);
    bySplit.forEach((group, code) => group.length && counts.push(`${numbers.format(group.length)} ${this.clips.split.names[code] ?? "without split"}`));
    if (failed) counts.push(`${numbers.format(failed)} failed`);
    const choose = make("button", { type: "button", title: `Only this class: ${gloss}`, onclick: () => this.choose(gloss) }, gloss);
    const head = make("header", {}, make("h4", {}, choose), make("p", {}, counts.join(" · ")));
    const shownClips = ok.filter((clip) => this.pictures.has(clip));
    const sheet = make("div", { class: "sheet" }, ...shownClips.map((clip) => this.pictures.figure(clip)));
    if (!shownClips.length) sheet.append(make("p", { class: "small" }, ok.length ? "No picture of these is in this file." : "No clip."));
    return make("article", {}, head, sheet);
  }
}
