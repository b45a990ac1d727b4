// Every chosen clip, with its source video and seconds, in any order.

const CLIPS_A_PAGE = 50;

class ClipList {
  constructor(clips, pictures, place) {
    Object.assign(this, { clips, pictures, order: "clip", direction: 1 });
    const several = COLUMNS.filter((column) => clips[column].names.length > 1);
    this.columns = new Map([["clip", { text: (clip) => String(clips.position[clip]), keys: () => clips.position }]]);
    for (const column of ["gloss", ...several, "video"]) {
      this.columns.set(column, { text: (clip) => nameOf(clips, column, clip), keys: () => this.ranks(column), isName: true });
    }
    const seconds = clips.end.map((end, clip) => end - clips.start[clip]);
    for (const [name, keys] of [["from", clips.start], ["to", clips.end], ["seconds", seconds]]) {
      this.columns.set(name, { text: (clip) => keys[clip].toFixed(2), keys: () => keys });
    }
    this.body = make("tbody");
    this.heads = [...this.columns].map(([name, { isName }]) => {
      const button = make("button", { type: "button", onclick: () => this.sortBy(name) }, wordOf(name));
      return make("th", { scope: "col", class: isName ? `name ${name}` : null }, button);
    });
    const table = make("table", { class: "clips" }, make("thead", {}, make("tr", {}, ...this.heads)), this.body);
    const pages = make("nav", { class: "pager screen", "aria-label": "Pages of clips" });
    place.append(make("div", { class: "scroll" }, table), pages);
    this.pager = new Pager(pages, CLIPS_A_PAGE, (first, end) => this.draw(first, end));
  }

  show(chosen) {
    this.chosen = chosen;
    this.sort();
  }

  sortBy(name) {
    this.direction = this.order === name ? -this.direction : 1;
    this.order = name;
    this.sort();
  }

  // The place of each clip's name in the order of names: numbers are compared much faster than names are.
  ranks(column) {
    const { names, codes } = this.clips[column];
    const ranks = new Int32Array(names.length);
    [...names.keys()].sort((a, b) => byName(shown(names[a]), shown(names[b]))).forEach((code, rank) => (ranks[code] = rank));
    return codes.map((code) => ranks[code]);
  }

  sort() {
    const keys = this.columns.get(this.order).keys();
    this.sorted = [...this.chosen].sort((a, b) => this.direction * (keys[a] - keys[b]) || a - b);
    [...this.columns.keys()].forEach((name, place) => {
      const sorted = this.direction > 0 ? "ascending" : "descending";
      if (name === this.order) this.heads[place].setAttribute("aria-sort", sorted);
      else this.heads[place].removeAttribute("aria-sort");
    });
    this.pager.reset(this.sorted.length);
  }

  draw(first, end) {
    this.body.replaceChildren(...this.sorted.slice(first, end).map((clip) => this.row(clip)));
  }

  row(clip) {
    const cells = [...this.columns].map(([name, { text, isName }]) => {
      const open = () => this.pictures.open(clip);
      const content = name === "clip" ? make("button", { type: "button", title: "Show this clip", onclick: open }, text(clip)) : text(clip);
      return make("td", { class: isName ? `name ${name}` : null }, content);
    });
    if (!this.clips.ok[clip]) cells[1].append(make("span", { class: "severity error" }, wordOf("failed")));
    return make("tr", {}, ...cells);
  }
}
