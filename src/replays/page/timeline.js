// The episode's course at a glance: rewards, deaths, and when a coach spoke.

class Timeline {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext('2d');
  }

  fit() {
    const dots = window.devicePixelRatio || 1;
    this.width = this.canvas.clientWidth;
    this.height = this.canvas.clientHeight;
    this.canvas.width = Math.round(this.width * dots);
    this.canvas.height = Math.round(this.height * dots);
    this.pen.setTransform(dots, 0, 0, dots, 0, 0);
  }

  /** The moment at `x` pixels from the left. */
  moment(episode, x) {
    return Math.min(Math.max(Math.round((x / this.width) * episode.length), 0), episode.length);
  }

  draw(episode, time, agent) {
    const { pen, width, height } = this;
    const step = width / Math.max(episode.length, 1);
    pen.clearRect(0, 0, width, height);
    const coached = Boolean(episode.data.sent);
    const low = coached ? height - 26 : height - 4;
    this.rewards(episode, step, 14, low - 8);
    this.deaths(episode, step, low - 4);
    if (coached) this.coach(episode, step, height - 4, 20, agent);
    pen.font = '10px system-ui, sans-serif';
    pen.textAlign = 'left';
    pen.textBaseline = 'top';
    pen.fillStyle = '#93a1b3';
    pen.fillText(episode.mortal ? 'reward, \u00d7 deaths' : 'reward', 6, 3);
    if (coached) {
      pen.textAlign = 'right';
      pen.fillStyle = COLOURS.coach;
      pen.fillText(agent === null ? 'coach: strategies moved' : `coach: strategy of ${agent + 1} moved`, width - 6, 3);
    }
    pen.fillStyle = '#ffffff';
    pen.fillRect(Math.min(Math.max(time * step - 1, 0), width - 2), 0, 2, height);
  }

  rewards(episode, step, top, bottom) {
    const { rewards } = episode.data;
    const most = Math.max(...rewards, 0);
    const least = Math.min(...rewards, 0);
    const scale = (bottom - top) / (most - least || 1);
    const zero = top + most * scale;
    rewards.forEach((reward, t) => {
      this.pen.fillStyle = reward < 0 ? COLOURS.enemy : COLOURS.team;
      const from = reward < 0 ? zero : zero - reward * scale;
      this.pen.fillRect(t * step, from, Math.max(step - 1, 1), Math.abs(reward) * scale);
    });
  }

  deaths(episode, step, y) {
    if (!episode.drawn) return;
    this.pen.lineWidth = 1.5;
    for (let t = 1; t <= episode.length; t++) {
      episode.moments[t].forEach((body, slot) => {
        if (body || !episode.moments[t - 1][slot] || !episode.dead(t, slot)) return;
        const x = t * step;
        this.pen.strokeStyle = COLOURS[episode.side(slot)];
        this.pen.beginPath();
        this.pen.moveTo(x - 3, y - 3);
        this.pen.lineTo(x + 3, y + 3);
        this.pen.moveTo(x + 3, y - 3);
        this.pen.lineTo(x - 3, y + 3);
        this.pen.stroke();
      });
    }
  }

  /** Bars as high as strategies moved: of one agent, or of those who were sent one in the mean. */
  coach(episode, step, bottom, high, agent) {
    const { sent, moved } = episode.data;
    const heights = sent.map((slots, t) => {
      const ways = moved[t].filter((_, place) => agent === null || slots[place] === agent);
      return ways.length ? ways.reduce((sum, far) => sum + far, 0) / ways.length : null;
    });
    const most = Math.max(...heights.map((far) => far || 0), 1e-9);
    this.pen.fillStyle = COLOURS.coach;
    heights.forEach((far, t) => {
      const tall = 2 + ((high - 2) * far) / most;
      if (far !== null) this.pen.fillRect(t * step, bottom - tall, Math.max(Math.min(step - 1, 5), 1.5), tall);
    });
  }
}
