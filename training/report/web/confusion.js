// The confusion matrix of many classes: the whole of it as a picture, and a window of it as a table with names and counts.
// Pressing the picture, a pair or a class moves the window there. Few classes are one table, which needs no script.

const MOST_PIXELS = 600;

// Classes in an order in which those that are confused lie side by side: chains of classes are joined at the pairs that
// are confused most often, as in single-linkage clustering.
function sideBySide(numClasses, cells) {
  const together = new Map();
  cells.times.forEach((times, cell) => {
    const [one, other] = [cells.right[cell], cells.answered[cell]].sort((a, b) => a - b);
    if (one !== other) together.set(one * numClasses + other, (together.get(one * numClasses + other) ?? 0) + times);
  });
  const chains = Array.from({ length: numClasses }, (_, place) => [place]);
  for (const [pair] of [...together].sort(([, a], [, b]) => b - a)) {
    let [one, other] = [Math.floor(pair / numClasses), pair % numClasses];
    if (chains[one] === chains[other]) continue;
    if (chains[one].length < chains[other].length) [one, other] = [other, one];
    const [long, short] = [chains[one], chains[other]];
    if (short.indexOf(other) > short.length / 2) short.reverse();
    if (long.indexOf(one) < long.length / 2) long.reverse();
    long.push(...short);
    for (const place of short) chains[place] = long;
  }
  return [...new Set(chains)].sort((a, b) => b.length - a.length).flat();
}

class ConfusionMatrix {
  constructor(answers, section) {
    const { glosses, clips, right, cells } = answers;
    Object.assign(this, { answers, row: 0, column: 0, num: glosses.length });
    this.times = new Map(cells.times.map((times, cell) => [cells.right[cell] * this.num + cells.answered[cell], times]));
    const accuracy = (place) => (clips[place] ? right[place] / clips[place] : 2);
    const all = [...glosses.keys()];
    this.orders = {
      confused: sideBySide(this.num, cells),
      vocabulary: all,
      accuracy: [...all].sort((a, b) => accuracy(a) - accuracy(b) || a - b),
    };
    this.section = section;
    this.whole = section.querySelector("canvas");
    this.window = section.querySelector(".scroll");
    this.told = section.querySelector(".told");
    const [order, size] = section.querySelectorAll("select");
    order.addEventListener("input", () => this.arrange(order.value));
    size.addEventListener("input", () => this.resize(Number(size.value)));
    for (const button of section.querySelectorAll("[data-move]")) {
      const [down, along] = button.dataset.move.split(" ").map(Number);
      button.addEventListener("click", () => this.moveTo(this.row + down * this.size, this.column + along * this.size));
    }
    this.whole.addEventListener("click", (event) => this.press(event));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.drawWhole());
    this.size = Math.min(Number(size.value), this.num);
    section.querySelector(".many").hidden = false;
    this.arrange(order.value);
  }

  arrange(name) {
    const at = this.order && [this.order[this.row + (this.size >> 1)], this.order[this.column + (this.size >> 1)]];
    this.order = this.orders[name];
    this.rank = new Int32Array(this.num);
    this.order.forEach((place, rank) => (this.rank[place] = rank));
    if (at) this.show(...at, false);
    else this.moveTo(0, 0);
    this.drawWhole();
  }

  resize(size) {
    const [row, column] = [this.row + this.size / 2, this.column + this.size / 2];
    this.size = Math.min(size, this.num);
    this.moveTo(Math.round(row - this.size / 2), Math.round(column - this.size / 2));
  }

  // Moves the window to where two classes meet, by their places among the glosses.
  show(right, answered = right, isAsked = true) {
    const half = this.size >> 1;
    this.chosen = isAsked ? right * this.num + answered : null;
    this.moveTo(this.rank[right] - half, this.rank[answered] - half);
    if (isAsked) this.section.scrollIntoView();
  }

  press(event) {
    const box = this.whole.getBoundingClientRect();
    const place = (offset, length) => Math.floor((offset / length) * this.num) - (this.size >> 1);
    this.moveTo(place(event.offsetY, box.height), place(event.offsetX, box.width));
  }

  moveTo(row, column) {
    const last = this.num - this.size;
    [this.row, this.column] = [row, column].map((first) => Math.max(0, Math.min(last, first)));
    this.drawWindow();
    this.drawFrame();
  }

  drawWindow() {
    const { glosses, clips } = this.answers;
    const [rows, columns] = [this.row, this.column].map((first) => this.order.slice(first, first + this.size));
    const heads = columns.map((place) => make("th", { scope: "col" }, make("span", {}, glosses[place])));
    const body = rows.map((right) => {
      const cells = columns.map((answered) => {
        const times = this.times.get(right * this.num + answered) ?? 0;
        const shade = times ? Math.max(1, Math.round(10 * Math.sqrt(times / clips[right]))) : 0;
        const kind = `${right === answered ? "hit" : "miss"} k${shade}`;
        const isChosen = this.chosen === right * this.num + answered;
        const title = times ? `${glosses[right]} → ${glosses[answered]}: ${times} / ${clips[right]}` : null;
        return make("td", { class: isChosen ? `${kind} chosen` : kind, title }, times ? numbers.format(times) : "");
      });
      const all = make("td", { class: "faint" }, numbers.format(clips[right]));
      return make("tr", {}, make("th", { scope: "row", class: "name" }, make("bdi", {}, glosses[right])), ...cells, all);
    });
    const corner = this.window.querySelector("thead tr");
    const table = this.window.querySelector("table");
    const [first, last] = [corner.cells[0], corner.cells[corner.cells.length - 1]];
    corner.replaceChildren(first, ...heads, last);
    table.tBodies[0].replaceChildren(...body);
    const span = (start) => `${numbers.format(start + 1)}–${numbers.format(start + this.size)}`;
    this.told.textContent = `${span(this.row)} × ${span(this.column)} / ${numbers.format(this.num)}`;
  }

  // The whole matrix, a pixel for one cell or for the strongest of several.
  drawWhole() {
    const side = this.num < MOST_PIXELS ? this.num * Math.floor(MOST_PIXELS / this.num) : MOST_PIXELS;
    const scale = side / this.num;
    const strength = new Float32Array(side * side);
    const isHit = new Uint8Array(side * side);
    const { cells, clips } = this.answers;
    cells.times.forEach((times, cell) => {
      const [right, answered] = [cells.right[cell], cells.answered[cell]];
      const share = Math.sqrt(times / clips[right]);
      const [top, left] = [right, answered].map((place) => Math.floor(this.rank[place] * scale));
      const width = Math.max(1, Math.floor(scale));
      for (let y = top; y < top + width; y++) {
        for (let x = left; x < left + width; x++) {
          const pixel = y * side + x;
          if (share > strength[pixel]) {
            strength[pixel] = share;
            isHit[pixel] = right === answered ? 1 : 0;
          }
        }
      }
    });
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim().split(" ").map(Number);
    const [miss, hit] = [colour("--miss"), colour("--hit")];
    const picture = new ImageData(side, side);
    strength.forEach((share, pixel) => share && picture.data.set([...(isHit[pixel] ? hit : miss), 110 + 145 * share], 4 * pixel));
    this.picture = picture;
    Object.assign(this.whole, { width: side, height: side });
    this.drawFrame();
  }

  // Where the window is, over the whole.
  drawFrame() {
    if (!this.picture) return;
    const [context, side] = [this.whole.getContext("2d"), this.whole.width];
    context.putImageData(this.picture, 0, 0);
    context.strokeStyle = getComputedStyle(this.whole).color;
    context.lineWidth = 2;
    const length = Math.max(8, (this.size / this.num) * side);
    const start = (first) => Math.min(side - length, Math.max(0, ((first + this.size / 2) / this.num) * side - length / 2));
    context.strokeRect(start(this.column), start(this.row), length, length);
  }
}
