// The camera: the whole recording for the answer at its end, and overlapping pieces of it for signs on the way.

const PIECE_SECONDS = 3;
const STEP_SECONDS = 2;
const MARGIN_SECONDS = (PIECE_SECONDS - STEP_SECONDS) / 2;
const MOST_ON_THE_WAY = 2;

class Camera {
  // `found` hears of signs in pieces, `missed` how many pieces were left out because the server was busy.
  constructor(player, found, missed) {
    Object.assign(this, { player, found, missed, onTheWay: 0, numMissed: 0 });
  }

  async start() {
    this.stream = await navigator.mediaDevices.getUserMedia({ video: true });
    this.player.srcObject = this.stream;
    this.player.hidden = false;
    this.player.play().catch(() => {});
    const chunks = [];
    this.recorder = new MediaRecorder(this.stream);
    this.recorder.ondataavailable = ({ data }) => chunks.push(data);
    this.ended = new Promise((done) => { this.recorder.onstop = () => done(new Blob(chunks, { type: this.recorder.mimeType })); });
    this.recorder.start();
    this.began = performance.now();
    this.timer = setInterval(() => this.piece(), STEP_SECONDS * 1000);
    this.piece();
  }

  // A piece decides on its middle: the pieces before and after it decide on its ends.
  piece() {
    if (this.onTheWay >= MOST_ON_THE_WAY) return this.missed(++this.numMissed);
    const offset = (performance.now() - this.began) / 1000;
    const recorder = new MediaRecorder(this.stream);
    recorder.ondataavailable = async ({ data }) => {
      this.onTheWay++;
      try {
        const { timeline, clips } = await timelineOf(data, "camera", () => {});
        const from = offset === 0 ? 0 : MARGIN_SECONDS;
        for (const sign of timeline) {
          const middle = (sign.start_time + sign.end_time) / 2;
          if (from <= middle && middle < PIECE_SECONDS - MARGIN_SECONDS) {
            const shown = signOf(sign, clips);
            this.found({ ...shown, start: rounded(shown.start + offset), end: rounded(shown.end + offset) });
          }
        }
      } catch {
        this.missed(++this.numMissed); // the whole recording is answered at its end
      } finally {
        this.onTheWay--;
      }
    };
    recorder.start();
    setTimeout(() => { if (recorder.state !== "inactive") recorder.stop(); }, PIECE_SECONDS * 1000);
  }

  // Ends the recording and returns it.
  async stop() {
    clearInterval(this.timer);
    this.seconds = (performance.now() - this.began) / 1000;
    this.recorder.stop();
    const video = await this.ended;
    for (const track of this.stream.getTracks()) track.stop();
    this.player.srcObject = null;
    return video;
  }
}
