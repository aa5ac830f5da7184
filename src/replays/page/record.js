// What was recorded, and how to read it: docs/replay.md describes the form.

const RECORD = JSON.parse(document.getElementById('record').textContent);
const ABOUT = RECORD.about;

/** An action in its parts: what is done, to whom (a slot, or null), and what is said (a symbol, or null). */
function parts(action) {
  if (action < 0) return { act: action, target: null, symbol: null };
  const act = ABOUT.symbols ? Math.floor(action / ABOUT.symbols) : action;
  const target = act >= ABOUT.actions.length ? act - ABOUT.actions.length : null;
  return { act, target, symbol: ABOUT.symbols ? action % ABOUT.symbols : null };
}

/** An episode: moments 0 to `length`, and what agents did in all of them but the last. */
class Episode {
  constructor(data) {
    this.data = data;
    this.length = data.length;
    this.drawn = Boolean(data.bodies);
    this.won = 'battle_won' in data.info ? data.info.battle_won > 0 : null;
    this.moments = this.drawn ? data.bodies.map((row) => row.map((body) => body && this.unpacked(body))) : [];
    /** How each entity looks when it is first there. */
    this.looks = [];
    for (const row of this.moments) row.forEach((body, slot) => body && (this.looks[slot] ??= body.look));
    this.returns = [0];
    for (const reward of data.rewards) this.returns.push(this.returns[this.returns.length - 1] + reward);
  }

  unpacked(body) {
    const look = this.data.looks[body[0]];
    const end = 3 + look.gauges.length;
    return { look, x: body[1], y: body[2], levels: body.slice(3, end), note: body[end] || '' };
  }

  /** The slots that are in use at moment `t`. */
  present(t) {
    let found = [];
    for (const [since, slots] of this.data.present) if (since <= t) found = slots;
    return found;
  }

  agents(t) {
    return this.present(t).filter((slot) => slot < ABOUT.agents);
  }

  body(t, slot) {
    return this.drawn ? this.moments[t][slot] : null;
  }

  /** Whether anybody ever dies. */
  get mortal() {
    return this.drawn && this.data.bodies.some((_, t) => this.present(t).some((slot) => this.dead(t, slot)));
  }

  /** Whether it is in the episode, and lies dead. */
  dead(t, slot) {
    return this.drawn && !this.moments[t][slot] && this.present(t).includes(slot);
  }

  /** Its body at moment `t`, or the last one that it had before; null: none so far. */
  latest(t, slot) {
    for (let at = t; this.drawn && at >= 0; at--) if (this.moments[at][slot]) return this.moments[at][slot];
    return null;
  }

  /** Of the list `name`, what belongs to moment `t`; null where there is nothing. */
  at(name, t) {
    return (this.data[name] && this.data[name][t]) ?? null;
  }

  /** Of the list `name`, what belongs to an agent at moment `t`. */
  of(name, t, agent) {
    const all = this.at(name, t);
    return all ? all[agent] ?? null : null;
  }

  /** How much an agent attends to a slot: by head `head`, or with -1 in the mean; null where nothing is known. */
  weight(t, agent, slot, head) {
    const heads = this.of('attention', t, agent);
    if (!heads) return null;
    const place = this.of('sees', t, agent).indexOf(slot);
    if (place < 0) return 0;
    if (head >= 0) return heads[head][place];
    return heads.reduce((sum, row) => sum + row[place], 0) / heads.length;
  }

  /** What an entity is called: agents by their numbers, from 1 on. */
  name(slot) {
    if (slot < ABOUT.agents) return String(slot + 1);
    const number = slot - ABOUT.agents + 1;
    const look = this.looks[slot];
    if (!look) return `entity ${number}`;
    if (look.side === 'enemy') return `E${number}`;
    const only = this.looks.filter((other, place) => place >= ABOUT.agents && other?.kind === look.kind).length === 1;
    return only ? look.kind : `${look.kind} ${look.label || number}`;
  }

  /** As `name`, with what it is. */
  title(slot) {
    const look = this.looks[slot];
    if (!look) return slot < ABOUT.agents ? `agent ${slot + 1}` : this.name(slot);
    if (slot < ABOUT.agents && look.kind === 'agent') return `agent ${slot + 1}`;
    return look.side === 'object' ? this.name(slot) : `${this.name(slot)} ${look.kind}`;
  }

  side(slot) {
    const look = this.looks[slot];
    return look ? look.side : slot < ABOUT.agents ? 'team' : 'object';
  }

  /** An action in words. */
  words(action) {
    const { act, target, symbol } = parts(action);
    const plain = act < 0 ? 'by a rule of its own' : ABOUT.actions[act];
    const done = target === null ? plain : `target ${this.title(target)}`;
    return symbol === null ? done : `${done}, say ${symbol}`;
  }

  outcome() {
    return this.won === null ? '' : this.won ? 'won' : 'not won';
  }
}

const EPISODES = RECORD.episodes.map((data) => new Episode(data));

/** A new element with a class and text. */
function make(tag, kind, text) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** The element `id`. */
function get(id) {
  return document.getElementById(id);
}

/** A number as people read it. */
function short(value) {
  return Number.isInteger(value) ? String(value) : value.toFixed(Math.abs(value) < 10 ? 2 : 1);
}
