// What is shown now, and how keys, buttons and the clock change it.

/** Steps in a second. */
const SPEEDS = [1, 2, 5, 10, 20, 40];
const KEYS = [
  ['space', 'play, pause'],
  ['left, right', 'a step back, on (with shift: ten)'],
  ['home, end', 'the first, the last step'],
  ['1 to 9', 'choose an agent'],
  ['tab, shift tab', 'the next, the previous agent'],
  ['esc', 'no agent'],
  ['h', 'the next head of the attention'],
  ['+, -', 'faster, slower'],
  ['f', 'the whole field, or what of it is used'],
  ['n, p', 'the next, the previous episode'],
  ['?', 'these keys'],
];

const now = { episode: EPISODES[0], time: 0, playing: false, speed: 5, agent: null, head: -1, whole: false };
const stage = new Stage(get('field'));
const timeline = new Timeline(get('timeline'));
const panel = new Panel(choose, attend);
let asked = false;
let clock = null;
let told = null;

/** Draw once, when the browser is about to. */
function redraw() {
  if (asked) return;
  asked = true;
  requestAnimationFrame(frame);
}

function frame(stamp) {
  asked = false;
  if (now.playing) {
    if (clock !== null) now.time = Math.min(now.time + ((stamp - clock) / 1000) * now.speed, now.episode.length);
    clock = stamp;
    if (now.time >= now.episode.length) pause();
  }
  draw();
  if (now.playing) redraw();
}

function draw() {
  const { episode, time, agent, head } = now;
  const t = Math.floor(time);
  if (episode.drawn) stage.draw(episode, time, agent, head);
  timeline.draw(episode, time, agent);
  const state = [episode, t, agent, head];
  if (told && state.every((value, place) => value === told[place])) return;
  told = state;
  if (!episode.drawn) drawTable(get('table'), episode, t, agent);
  get('scrub').value = t;
  get('clock').textContent = `${t} / ${episode.length}`;
  panel.show(episode, t, agent, head);
}

function fit() {
  get('field').hidden = !now.episode.drawn;
  get('table').hidden = now.episode.drawn;
  get('legend').hidden = !now.episode.drawn;
  if (now.episode.drawn) stage.fit(now.episode, get('stage'), now.whole);
  timeline.fit();
  redraw();
}

function play() {
  if (now.time >= now.episode.length) now.time = 0;
  now.playing = true;
  clock = null;
  get('play').textContent = '\u275a\u275a';
  get('play').setAttribute('aria-label', 'pause');
  redraw();
}

function pause() {
  now.playing = false;
  get('play').textContent = '\u25b6';
  get('play').setAttribute('aria-label', 'play');
}

function seek(t) {
  now.time = Math.min(Math.max(t, 0), now.episode.length);
  redraw();
}

/** By so many steps, from where the last one began. */
function step(count) {
  pause();
  seek(Math.floor(now.time) + count);
}

/** Choose an agent, or none where it was chosen before. */
function choose(agent) {
  now.agent = agent === now.agent ? null : agent;
  redraw();
}

/** The next agent that is there, or with -1 the previous one; whether there was one. */
function turn(way) {
  const agents = now.episode.agents(Math.floor(now.time));
  const place = now.agent === null ? (way > 0 ? 0 : agents.length - 1) : agents.indexOf(now.agent) + way;
  now.agent = agents[place] ?? null;
  redraw();
  return now.agent !== null;
}

function attend(head) {
  now.head = head;
  redraw();
}

function show(episode) {
  pause();
  Object.assign(now, { episode, time: 0, agent: null });
  get('episode').value = String(EPISODES.indexOf(episode));
  get('scrub').max = episode.length;
  if (episode.drawn) drawLegend(get('legend'), episode);
  fit();
}

// --- which episode ---------------------------------------------------------------------------------------------------

function option(value, text) {
  const element = make('option', '', text);
  element.value = value;
  return element;
}

/** The episodes that the user wants to choose from, by their places. */
function listed() {
  const [team, outcome] = [get('team').value, get('outcome').value];
  return EPISODES.map((_, place) => place).filter((place) => {
    const episode = EPISODES[place];
    return (!team || episode.data.team === team) && (!outcome || episode.outcome() === outcome);
  });
}

function list() {
  const places = listed();
  get('episode').replaceChildren(...places.map((place) => {
    const episode = EPISODES[place];
    const { team, number } = episode.data;
    const words = [`${team}: ${number + 1}`, episode.outcome(), `return ${short(episode.data.return)}`];
    return option(String(place), words.filter(Boolean).join(', '));
  }));
  if (places.length && !places.includes(EPISODES.indexOf(now.episode))) show(EPISODES[places[0]]);
  get('episode').value = String(EPISODES.indexOf(now.episode));
}

/** The next of those, or with -1 the previous one. */
function leaf(way) {
  const places = listed();
  const place = places[places.indexOf(EPISODES.indexOf(now.episode)) + way];
  if (place !== undefined) show(EPISODES[place]);
}

// --- keys and pointers -----------------------------------------------------------------------------------------------

function faster(way) {
  now.speed = SPEEDS[Math.min(Math.max(SPEEDS.indexOf(now.speed) + way, 0), SPEEDS.length - 1)];
  get('speed').value = String(now.speed);
}

const ACTIONS = {
  ' ': () => (now.playing ? pause() : play()),
  ArrowLeft: (event) => step(event.shiftKey ? -10 : -1),
  ArrowRight: (event) => step(event.shiftKey ? 10 : 1),
  Home: () => step(-Infinity),
  End: () => step(Infinity),
  Escape: () => choose(now.agent),
  h: () => attend(now.head + 1 < ABOUT.heads.length ? now.head + 1 : -1),
  '+': () => faster(1),
  '-': () => faster(-1),
  f: () => {
    now.whole = !now.whole;
    fit();
  },
  n: () => leaf(1),
  p: () => leaf(-1),
  '?': () => get('help').showModal(),
};

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || get('help').open) return;
  const at = document.activeElement;
  const elsewhere = at && at !== document.body && at.id !== 'field';
  if (event.key === 'Tab') {
    // past the last agent the key is the browser's again
    if (!elsewhere && turn(event.shiftKey ? -1 : 1)) event.preventDefault();
    return;
  }
  const own = { SELECT: /./, BUTTON: /^ $/, INPUT: /^(Arrow|Home|End)/ }[elsewhere ? at.tagName : ''];
  if (own && own.test(event.key)) return;
  if (/^[1-9]$/.test(event.key)) {
    const agent = Number(event.key) - 1;
    if (now.episode.agents(Math.floor(now.time)).includes(agent)) choose(agent);
  } else if (event.key in ACTIONS) {
    ACTIONS[event.key](event);
  } else {
    return;
  }
  event.preventDefault();
}

function listen() {
  document.addEventListener('keydown', press);
  get('play').addEventListener('click', ACTIONS[' ']);
  get('back').addEventListener('click', () => step(-1));
  get('on').addEventListener('click', () => step(1));
  get('before').addEventListener('click', () => leaf(-1));
  get('after').addEventListener('click', () => leaf(1));
  get('ask').addEventListener('click', ACTIONS['?']);
  get('scrub').addEventListener('input', () => {
    pause();
    seek(Number(get('scrub').value));
  });
  get('speed').addEventListener('change', () => (now.speed = Number(get('speed').value)));
  get('team').addEventListener('change', list);
  get('outcome').addEventListener('change', list);
  get('episode').addEventListener('change', () => show(EPISODES[Number(get('episode').value)]));
  get('field').addEventListener('click', (event) => {
    const slot = stage.hit(now.episode, now.time, event.offsetX, event.offsetY);
    if (slot !== null && slot < ABOUT.agents) choose(slot);
  });
  const drag = (event) => {
    if (event.type === 'pointermove' && !event.buttons) return;
    pause();
    seek(timeline.moment(now.episode, event.offsetX));
  };
  get('timeline').addEventListener('pointerdown', drag);
  get('timeline').addEventListener('pointermove', drag);
  new ResizeObserver(fit).observe(get('left'));
}

function start() {
  const trained = ABOUT.figure ? [`${ABOUT.steps.toLocaleString('en')} steps of training`] : [];
  get('run').textContent = [`run ${ABOUT.run}`, ...trained, `${ABOUT.episodes} episodes`].join(' \u00b7 ');
  const teams = [...new Set(EPISODES.map((episode) => episode.data.team))];
  get('team').replaceChildren(option('', 'all'), ...teams.map((team) => option(team, team)));
  get('outcome').replaceChildren(option('', 'all'), option('won', 'won'), option('not won', 'not won'));
  get('outcomes').hidden = EPISODES.every((episode) => episode.won === null);
  get('speed').replaceChildren(...SPEEDS.map((speed) => option(String(speed), `${speed} / s`)));
  get('speed').value = String(now.speed);
  for (const [key, words] of KEYS) get('keys').append(make('dt', '', key), make('dd', '', words));
  list();
  listen();
  show(EPISODES[0]);
}

start();
