// Which names are meant by what was typed into a field of search.

const INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ";
const ONLY_INITIALS = /^[ㄱ-ㅎ\s]+$/;

// 왼쪽 -> ㅇㅉ, as Korean dictionaries are searched.
function initialsOf(text) {
  return Array.from(text, (character) => {
    const place = character.charCodeAt(0) - 0xac00;
    return place >= 0 && place < 11172 ? INITIALS[Math.floor(place / 588)] : character;
  }).join("");
}

// Whether a gloss is meant by what was typed: a part of it, its initial consonants, or, in quotes, exactly it.
function glossMatcher(typed) {
  const text = typed.trim().normalize("NFC").toLowerCase();
  if (!text) return () => true;
  if (text.length > 2 && text.startsWith('"') && text.endsWith('"')) {
    const exact = text.slice(1, -1);
    return (gloss) => gloss.toLowerCase() === exact;
  }
  if (ONLY_INITIALS.test(text)) return (gloss) => gloss.includes(text) || initialsOf(gloss).includes(text);
  return (gloss) => gloss.toLowerCase().includes(text);
}
