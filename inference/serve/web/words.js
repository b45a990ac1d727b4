// The page's own words in both languages. What the server says comes in the language that is asked for.

const WORDS = {
  en: {
    about: "Which signs does a video show? It is answered by this server, and forgotten there.",
    token: "The server's token", send: "Send", choose: "Choose a video", or_drop: "or drop one here", camera: "Use the camera", stop: "Stop",
    signs: "Signs", correct: "Times are in seconds. Correct what is wrong: another sign, its start, its end.",
    clip: "clip", sign: "sign", start: "start", end: "end", confidence: "confidence", others: "or perhaps",
    add: "Add a sign at the video's time", remove: "Remove", play: "Play", download: "Save",
    labels: "Labels for training", save_video: "The video",
    loop: "Put the video and its labels into one folder: signprep build-cache --data-root FOLDER reads both.",
    sending: "Sending", answering: "Windows answered: {}", done: "Signs: {}", recording: "Recording. Signs so far: {}",
    none: "No sign was found.", no_camera: "The camera cannot be used: {}", gone: "The server does not answer.", left_out: "Pieces left out: {}",
  },
  ko: {
    about: "영상에 어떤 수어가 나오는지 이 서버가 답하고, 영상은 서버에 남기지 않습니다.",
    token: "서버 토큰", send: "보내기", choose: "영상 고르기", or_drop: "또는 여기에 끌어다 놓으세요", camera: "카메라 쓰기", stop: "멈추기",
    signs: "수어", correct: "시각은 초입니다. 틀린 수어나 시작, 끝을 고칠 수 있습니다.",
    clip: "클립", sign: "수어", start: "시작", end: "끝", confidence: "신뢰도", others: "다른 후보",
    add: "영상의 현재 시각에 수어 추가", remove: "삭제", play: "재생", download: "저장",
    labels: "학습용 라벨", save_video: "영상",
    loop: "영상과 라벨을 한 폴더에 두면 signprep build-cache --data-root FOLDER가 함께 읽습니다.",
    sending: "보내는 중", answering: "답한 시간 창: {}", done: "수어: {}", recording: "녹화 중. 지금까지의 수어: {}",
    none: "수어를 찾지 못했습니다.", no_camera: "카메라를 쓸 수 없습니다: {}", gone: "서버가 답하지 않습니다.", left_out: "건너뛴 조각: {}",
  },
};

let language = navigator.language.startsWith("ko") ? "ko" : "en";
const word = (name, value = "") => WORDS[language][name].replace("{}", value);
const part = (id) => document.getElementById(id);

function showWords() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = word(element.dataset.word);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", word(element.dataset.label));
  for (const element of document.querySelectorAll("[data-head]")) element.dataset.told = word(element.dataset.head);
  part("language").textContent = language === "ko" ? "English" : "한국어";
  part("language").lang = language === "ko" ? "en" : "ko";
}
