// The field: bodies, lines between them, and what the chosen agent sees.

/** Those of sides and signs can be told apart by whoever sees no red or no green. */
const COLOURS = {
  team: '#56b4e9', enemy: '#e69f00', object: '#b9c4d0', attention: '#e08fc0', chosen: '#ffffff', coach: '#f0e442',
  floor: '#131a23', outside: '#0b1016', grid: '#1c2632', wall: '#46586f', plain: '#2a3747', rim: '#0b1016',
};
const BARS = { health: '#2ec4a0', shield: '#a9d1ff', energy: '#c7a4ff' };
/** Where actions of these names lead. */
const WAYS = {
  north: [0, 1], south: [0, -1], east: [1, 0], west: [-1, 0], up: [0, 1], down: [0, -1], right: [1, 0], left: [-1, 0],
};

/** `box` with a margin, as a share of its longer side, on all sides. */
function around(box, share) {
  const margin = share * side(box);
  return { left: box.left - margin, right: box.right + margin, bottom: box.bottom - margin, top: box.top + margin };
}

/** The longer side. */
function side(box) {
  return Math.max(box.right - box.left, box.top - box.bottom);
}

/** Where an episode takes place: a part of the arena if that is much smaller; more than it where it has no walls. */
function scope(episode) {
  const { arena } = episode.data;
  const all = episode.moments.flat().filter(Boolean);
  const [xs, ys] = [all.map((body) => body.x), all.map((body) => body.y)];
  const box = { left: Math.min(...xs), right: Math.max(...xs), bottom: Math.min(...ys), top: Math.max(...ys) };
  if (!arena.walls) {
    const joint = {
      left: Math.min(box.left, arena.left), right: Math.max(box.right, arena.right),
      bottom: Math.min(box.bottom, arena.bottom), top: Math.max(box.top, arena.top),
    };
    // whoever runs away has to come back by himself
    const most = around(arena, 0.75);
    const inside = {
      left: Math.max(joint.left, most.left), right: Math.min(joint.right, most.right),
      bottom: Math.max(joint.bottom, most.bottom), top: Math.min(joint.top, most.top),
    };
    return around(inside, 0.1);
  }
  return side(box) < 0.75 * side(arena) ? around(box, 0.12) : around(arena, 0.04);
}

class Stage {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext('2d');
  }

  /** Make the canvas as large as `box`, and let it show where the episode takes place, or with `whole` all there is. */
  fit(episode, box, whole) {
    const view = whole ? around(episode.data.arena, 0.04) : scope(episode);
    this.width = Math.max(box.clientWidth, 1);
    this.height = Math.max(box.clientHeight, 1);
    this.scale = Math.min(this.width / (view.right - view.left), this.height / (view.top - view.bottom));
    this.west = (view.left + view.right) / 2 - this.width / 2 / this.scale;
    this.north = (view.bottom + view.top) / 2 + this.height / 2 / this.scale;
    const dots = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.width * dots);
    this.canvas.height = Math.round(this.height * dots);
    this.canvas.style.width = `${this.width}px`;
    this.canvas.style.height = `${this.height}px`;
    this.pen.setTransform(dots, 0, 0, dots, 0, 0);
    this.arena = episode.data.arena;
  }

  place(x, y) {
    return [(x - this.west) * this.scale, (this.north - y) * this.scale];
  }

  /** Which entity is at a point of the canvas; null: none. */
  hit(episode, time, x, y) {
    let found = null;
    let nearest = Infinity;
    for (const body of this.bodies(episode, time)) {
      const away = Math.hypot(body.x - x, body.y - y);
      if (away < Math.max(body.radius, 10) && away < nearest) [found, nearest] = [body.slot, away];
    }
    return found;
  }

  /** Everybody at `time`, between two moments on the way from one to the next, in pixels. */
  bodies(episode, time) {
    const t = Math.floor(time);
    const share = time - t;
    const found = [];
    episode.moments[t].forEach((body, slot) => {
      if (!body) return;
      const next = share > 0 ? episode.moments[t + 1][slot] : null;
      const on = next && next.look.kind === body.look.kind ? next : body;
      const [x, y] = this.place(body.x + share * (on.x - body.x), body.y + share * (on.y - body.y));
      found.push({ slot, body, x, y, radius: Math.max(body.look.radius * this.scale, 5) });
    });
    return found;
  }

  draw(episode, time, agent, head) {
    const t = Math.min(Math.floor(time), episode.length);
    const bodies = this.bodies(episode, time);
    const where = new Map(bodies.map((body) => [body.slot, body]));
    const sees = agent === null ? null : episode.of('sees', t, agent);
    this.ground();
    for (const slot of episode.present(t)) if (episode.dead(t, slot)) this.grave(episode.latest(t, slot));
    const chosen = agent === null ? null : where.get(agent);
    if (chosen) this.range(chosen);
    this.lines(episode, t, agent, where);
    const sent = episode.at('sent', t) || [];
    for (const large of [true, false]) {
      for (const body of bodies) {
        if ((body.body.look.side === 'object') !== large) continue;
        this.pen.globalAlpha = sees && !sees.includes(body.slot) ? 0.28 : 1;
        this.body(body, episode, agent, sent.includes(body.slot));
      }
    }
    this.pen.globalAlpha = 1;
    if (!chosen || !sees) return;
    this.attention(episode, t, chosen, sees, head, where);
    this.weights(episode, t, agent, sees, head, where);
  }

  ground() {
    const { pen, arena } = this;
    const [left, top] = this.place(arena.left, arena.top);
    const [right, bottom] = this.place(arena.right, arena.bottom);
    pen.globalAlpha = 1;
    pen.fillStyle = arena.walls ? COLOURS.outside : COLOURS.floor;
    pen.fillRect(0, 0, this.width, this.height);
    pen.fillStyle = COLOURS.floor;
    pen.fillRect(left, top, right - left, bottom - top);
    if (arena.grid) {
      pen.strokeStyle = COLOURS.grid;
      pen.lineWidth = 1;
      pen.beginPath();
      for (let x = left; x < right + 1; x += arena.grid * this.scale) {
        pen.moveTo(Math.round(x) + 0.5, top);
        pen.lineTo(Math.round(x) + 0.5, bottom);
      }
      for (let y = bottom; y > top - 1; y -= arena.grid * this.scale) {
        pen.moveTo(left, Math.round(y) + 0.5);
        pen.lineTo(right, Math.round(y) + 0.5);
      }
      pen.stroke();
    }
    pen.strokeStyle = arena.walls ? COLOURS.wall : COLOURS.plain;
    pen.lineWidth = arena.walls ? 3 : 1;
    pen.setLineDash(arena.walls ? [] : [6, 6]);
    pen.strokeRect(left, top, right - left, bottom - top);
    pen.setLineDash([]);
  }

  grave(body) {
    if (!body) return;
    const [x, y] = this.place(body.x, body.y);
    const size = Math.max(0.5 * body.look.radius * this.scale, 4);
    this.pen.strokeStyle = COLOURS[body.look.side];
    this.pen.globalAlpha = 0.45;
    this.pen.lineWidth = 2;
    this.pen.beginPath();
    this.pen.moveTo(x - size, y - size);
    this.pen.lineTo(x + size, y + size);
    this.pen.moveTo(x + size, y - size);
    this.pen.lineTo(x - size, y + size);
    this.pen.stroke();
    this.pen.globalAlpha = 1;
  }

  range({ body, x, y }) {
    if (!body.look.sight) return;
    this.pen.beginPath();
    this.pen.arc(x, y, body.look.sight * this.scale, 0, 2 * Math.PI);
    this.pen.fillStyle = 'rgba(255, 255, 255, 0.035)';
    this.pen.fill();
    this.pen.strokeStyle = 'rgba(255, 255, 255, 0.25)';
    this.pen.lineWidth = 1;
    this.pen.setLineDash([4, 5]);
    this.pen.stroke();
    this.pen.setLineDash([]);
  }

  /** Whom everybody goes for, and where agents walk. */
  lines(episode, t, agent, where) {
    for (const [slot, aim] of episode.at('aims', t) || []) {
      const [from, to] = [where.get(slot), where.get(aim)];
      if (from && to) this.arrow(from, to, COLOURS.enemy, 1.2, 0.5, [5, 4]);
    }
    (episode.at('actions', t) || []).forEach((action, slot) => {
      const from = where.get(slot);
      if (action === null || !from) return;
      const { act, target } = parts(action);
      const mine = slot === agent;
      const [colour, width, alpha] = mine ? [COLOURS.chosen, 2, 1] : [COLOURS.team, 1.4, agent === null ? 0.8 : 0.4];
      const way = target === null ? WAYS[ABOUT.actions[act]] : null;
      if (target !== null && where.has(target)) this.arrow(from, where.get(target), colour, width, alpha, []);
      else if (way) this.step(from, way, colour, alpha);
    });
  }

  arrow(from, to, colour, width, alpha, dash) {
    const length = Math.hypot(to.x - from.x, to.y - from.y);
    if (length < 1) return;
    const [east, south] = [(to.x - from.x) / length, (to.y - from.y) / length];
    const end = Math.max(length - to.radius - 2, 0);
    const [x, y] = [from.x + end * east, from.y + end * south];
    const { pen } = this;
    pen.globalAlpha = alpha;
    pen.strokeStyle = colour;
    pen.fillStyle = colour;
    pen.lineWidth = width;
    pen.setLineDash(dash);
    pen.beginPath();
    pen.moveTo(from.x, from.y);
    pen.lineTo(x, y);
    pen.stroke();
    pen.setLineDash([]);
    const size = 4 + 1.5 * width;
    pen.beginPath();
    pen.moveTo(x, y);
    pen.lineTo(x - size * east + 0.5 * size * south, y - size * south - 0.5 * size * east);
    pen.lineTo(x - size * east - 0.5 * size * south, y - size * south + 0.5 * size * east);
    pen.fill();
    pen.globalAlpha = 1;
  }

  /** A small triangle on the side on which an agent sets out. */
  step({ x, y, radius }, [east, north], colour, alpha) {
    const { pen } = this;
    const [from, tip] = [radius + 3, radius + 9];
    pen.globalAlpha = alpha;
    pen.fillStyle = colour;
    pen.beginPath();
    pen.moveTo(x + tip * east, y - tip * north);
    pen.lineTo(x + from * east + 4 * north, y - from * north + 4 * east);
    pen.lineTo(x + from * east - 4 * north, y - from * north - 4 * east);
    pen.fill();
    pen.globalAlpha = 1;
  }

  /** Lines from rim to rim, as wide as the weights. */
  attention(episode, t, chosen, sees, head, where) {
    const { pen } = this;
    pen.strokeStyle = COLOURS.attention;
    pen.lineCap = 'round';
    for (const slot of sees) {
      const weight = episode.weight(t, chosen.slot, slot, head);
      const to = where.get(slot);
      if (!weight || !to) continue;
      pen.globalAlpha = 0.35 + 0.35 * weight;
      pen.lineWidth = Math.max(18 * weight, 0.75);
      pen.beginPath();
      if (slot === chosen.slot) {
        pen.arc(to.x, to.y, to.radius + 4 + 8 * weight, 0, 2 * Math.PI);
      } else {
        const away = Math.hypot(to.x - chosen.x, to.y - chosen.y) || 1;
        const [east, south] = [(to.x - chosen.x) / away, (to.y - chosen.y) / away];
        pen.moveTo(chosen.x + chosen.radius * east, chosen.y + chosen.radius * south);
        pen.lineTo(to.x - to.radius * east, to.y - to.radius * south);
      }
      pen.stroke();
    }
    pen.lineCap = 'butt';
    pen.globalAlpha = 1;
  }

  /** The largest weights as numbers. */
  weights(episode, t, agent, sees, head, where) {
    const all = sees.filter((slot) => where.has(slot)).map((slot) => [episode.weight(t, agent, slot, head), slot]);
    all.sort((one, other) => other[0] - one[0]);
    for (const [weight, slot] of all.slice(0, 4)) {
      if (!weight || weight < 0.05) continue;
      const { x, y, radius } = where.get(slot);
      this.tag(weight.toFixed(2), x, y + radius + 11, COLOURS.attention, 11);
    }
  }

  tag(text, x, y, colour, size) {
    const { pen } = this;
    pen.font = `600 ${size}px system-ui, sans-serif`;
    pen.textAlign = 'center';
    pen.textBaseline = 'middle';
    const wide = pen.measureText(text).width / 2 + 4;
    const at = Math.min(Math.max(x, wide + 2), this.width - wide - 2);
    pen.fillStyle = 'rgba(11, 16, 22, 0.82)';
    pen.beginPath();
    pen.roundRect(at - wide, y - 0.65 * size, 2 * wide, 1.3 * size, 3);
    pen.fill();
    pen.fillStyle = colour;
    pen.fillText(text, at, y + 0.5);
  }

  body({ slot, body, x, y, radius }, episode, agent, sent) {
    const { pen } = this;
    const { look } = body;
    const colour = look.colour || COLOURS[look.side];
    const ring = look.shape === 'ring';
    this.outline(look.shape, x, y, radius);
    const fill = look.gauges.findIndex((gauge) => gauge.form === 'fill');
    if (fill >= 0) {
      const share = Math.min(body.levels[fill] / look.gauges[fill].full, 1);
      const level = y + radius - 2 * radius * share;
      pen.fillStyle = '#26313f';
      pen.fill();
      pen.save();
      pen.clip();
      pen.fillStyle = colour;
      pen.fillRect(x - 2 * radius, level, 4 * radius, 4 * radius);
      pen.restore();
      this.outline(look.shape, x, y, radius);
    } else if (!ring) {
      pen.fillStyle = colour;
      pen.fill();
    }
    pen.strokeStyle = ring || fill >= 0 ? colour : COLOURS.rim;
    pen.lineWidth = ring ? 4 : 1.5;
    pen.stroke();
    if (slot === agent) this.circle(x, y, radius + 3.5, COLOURS.chosen, 2.5);
    if (sent) this.circle(x, y, radius + 7.5, COLOURS.coach, 2.5);
    look.gauges.forEach((gauge, number) => {
      const share = Math.min(body.levels[number] / gauge.full, 1);
      if (gauge.form === 'arc' && share > 0) {
        pen.beginPath();
        pen.arc(x, y, radius + 2, -Math.PI / 2, -Math.PI / 2 + 2 * Math.PI * share);
        pen.strokeStyle = 'rgba(255, 255, 255, 0.75)';
        pen.lineWidth = 1.5;
        pen.stroke();
      }
    });
    this.bars(body, x, y, radius);
    const text = slot < ABOUT.agents && !look.label ? String(slot + 1) : look.label;
    if (text && radius >= 7) {
      pen.font = `700 ${Math.min(Math.max(0.95 * radius, 8), 18)}px system-ui, sans-serif`;
      pen.textAlign = 'center';
      pen.textBaseline = 'middle';
      pen.fillStyle = '#08131c';
      pen.fillText(text, x, y + (look.shape === 'triangle' ? 0.2 * radius : 0.5));
    }
    const called = slot < ABOUT.agents ? String(slot + 1) : look.side === 'enemy' ? episode.name(slot) : '';
    if (look.label && called) this.tag(called, x + radius + 2, y + 0.75 * radius, COLOURS[look.side], 10);
    if (body.note) this.tag(body.note, x, y + radius + 11, '#ffffff', 11);
  }

  circle(x, y, radius, colour, width) {
    this.pen.beginPath();
    this.pen.arc(x, y, radius, 0, 2 * Math.PI);
    this.pen.strokeStyle = colour;
    this.pen.lineWidth = width;
    this.pen.stroke();
  }

  bars(body, x, y, radius) {
    const all = body.look.gauges.map((gauge, number) => [gauge, body.levels[number]]);
    const shown = all.filter(([gauge]) => gauge.form === 'bar');
    shown.reverse().forEach(([gauge, level], row) => {
      const [wide, top] = [Math.max(2 * radius, 18), y - radius - 8 - 4 * (shown.length - 1 - row)];
      this.pen.fillStyle = 'rgba(8, 12, 17, 0.85)';
      this.pen.fillRect(x - wide / 2 - 0.5, top - 0.5, wide + 1, 4);
      this.pen.fillStyle = BARS[gauge.name] || COLOURS.object;
      this.pen.fillRect(x - wide / 2, top, wide * Math.min(level / gauge.full, 1), 3);
    });
  }

  outline(shape, x, y, radius) {
    const { pen } = this;
    pen.beginPath();
    if (shape === 'disc' || shape === 'ring') pen.arc(x, y, radius, 0, 2 * Math.PI);
    else if (shape === 'square') pen.rect(x - 0.88 * radius, y - 0.88 * radius, 1.76 * radius, 1.76 * radius);
    else if (shape === 'diamond') this.polygon(x, y, radius, 4, -Math.PI / 2);
    else if (shape === 'triangle') this.polygon(x, y, 1.15 * radius, 3, -Math.PI / 2);
    else if (shape === 'hexagon') this.polygon(x, y, radius, 6, 0);
    else if (shape === 'cross') this.cross(x, y, radius);
    else if (shape === 'star') this.star(x, y, 1.3 * radius);
    else this.flame(x, y, radius);
  }

  polygon(x, y, radius, corners, first) {
    for (let corner = 0; corner < corners; corner++) {
      const angle = first + (2 * Math.PI * corner) / corners;
      this.pen.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
    }
    this.pen.closePath();
  }

  cross(x, y, radius) {
    const [far, near] = [radius, 0.42 * radius];
    const corners = [[-near, -far], [near, -far], [near, -near], [far, -near], [far, near], [near, near]];
    for (const [east, south] of corners) this.pen.lineTo(x + east, y + south);
    for (const [east, south] of corners) this.pen.lineTo(x - east, y - south);
    this.pen.closePath();
  }

  star(x, y, radius) {
    for (let corner = 0; corner < 16; corner++) {
      const away = corner % 2 ? 0.6 * radius : radius;
      this.pen.lineTo(x + away * Math.cos((Math.PI * corner) / 8), y + away * Math.sin((Math.PI * corner) / 8));
    }
    this.pen.closePath();
  }

  flame(x, y, radius) {
    const { pen } = this;
    pen.moveTo(x, y - radius);
    pen.bezierCurveTo(x + 0.3 * radius, y - 0.4 * radius, x + radius, y, x + 0.75 * radius, y + 0.6 * radius);
    pen.bezierCurveTo(x + 0.5 * radius, y + radius, x - 0.5 * radius, y + radius, x - 0.75 * radius, y + 0.6 * radius);
    pen.bezierCurveTo(x - radius, y, x - 0.3 * radius, y - 0.4 * radius, x, y - radius);
    pen.closePath();
  }
}

/** The entities of a moment as a table, for tasks that do not say how they look. */
function drawTable(box, episode, t, agent) {
  const names = Object.keys(ABOUT.features);
  const sees = agent === null ? null : episode.of('sees', t, agent);
  const head = make('tr');
  for (const text of ['entity', ...names, 'does']) head.append(make('th', '', text));
  const table = make('table');
  table.append(head);
  episode.present(t).forEach((slot, row) => {
    const line = make('tr', slot === agent ? 'chosen' : sees && !sees.includes(slot) ? 'not' : '');
    line.dataset.slot = slot;
    line.append(make('td', '', slot < ABOUT.agents ? `agent ${slot + 1}` : `entity ${slot - ABOUT.agents + 1}`));
    for (const name of names) {
      const [start, stop] = ABOUT.features[name];
      line.append(make('td', '', episode.data.entities[t][row].slice(start, stop).join(' ')));
    }
    const action = slot < ABOUT.agents ? episode.of('actions', t, slot) : null;
    line.append(make('td', '', action === null ? '' : episode.words(action)));
    table.append(line);
  });
  box.replaceChildren(table);
}

/** What signs mean. */
function drawLegend(box, episode) {
  const items = [];
  const add = (sign, words, colour) => {
    const item = make('span');
    const mark = make('b', '', sign);
    mark.style.color = colour;
    item.append(mark, ` ${words}`);
    items.push(item);
  };
  const { looks } = episode.data;
  const sides = new Set(looks.map((look) => look.side));
  if (sides.has('team')) add('\u25cf', 'team', COLOURS.team);
  const nameless = looks.find((look) => look.side === 'enemy' && !look.label);
  if (sides.has('enemy')) add('\u25cf', nameless ? nameless.kind : 'enemies', COLOURS.enemy);
  const labelled = looks.filter((look) => look.label && look.side !== 'object');
  for (const [label, kind] of new Map(labelled.map((look) => [look.label, look.kind]))) add(label, kind, '#ffffff');
  const forms = new Map(looks.flatMap((look) => look.gauges).map((gauge) => [gauge.name, gauge.form]));
  for (const [name, form] of forms) if (form === 'bar') add('\u2501', name, BARS[name] || COLOURS.object);
  for (const [name, form] of forms) if (form === 'arc') add('\u25dc', name, '#ffffff');
  if (episode.data.attention) add('\u2501', 'attention', COLOURS.attention);
  if (episode.data.sent) add('\u25cb', 'sent a strategy', COLOURS.coach);
  box.replaceChildren(...items);
}
