// What all parts of a page share: unpacking its data, making elements, writing numbers.
// Names reach the page as text nodes only, never as HTML.

const ABSENT = "–";

async function unpacked(id) {
  const packed = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(packed.length);
  for (let place = 0; place < packed.length; place++) bytes[place] = packed.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Words that the code uses as keys, in the reader's language; without any, they are English.
const words = {};
const addWords = (more) => Object.assign(words, more);
const wordOf = (word) => words[word] ?? word;
const numbers = new Intl.NumberFormat("en-US");
const counted = (number, noun, nouns = `${noun}s`) =>
  words[`{} ${noun}`]?.replace("{}", numbers.format(number)) ?? `${numbers.format(number)} ${number === 1 ? noun : nouns}`;
const byName = new Intl.Collator("ko", { numeric: true }).compare;
const shown = (name) => name ?? ABSENT;
