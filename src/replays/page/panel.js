// What stands beside the field: agents, and what the chosen one is, sees and decides by.

/** A section's heading, and what stands in it beside the words. */
function heading(text, ...more) {
  const element = make('h2', '', text);
  element.append(...more);
  return element;
}

function facts(pairs) {
  const list = make('dl', 'facts');
  for (const [name, value] of pairs) list.append(make('dt', '', name), make('dd', '', value));
  return list;
}

function tableOf(heads) {
  const table = make('table');
  const row = make('tr');
  heads.forEach((text, at) => row.append(make('th', at ? 'n' : '', text)));
  table.append(row);
  return table;
}

/** `table` in a box that it can be wider than. */
function scrolling(table) {
  const box = make('div', 'scroll');
  box.append(table);
  return box;
}

class Panel {
  /** `choose(agent)` and `attend(head)` are called where the user clicks. */
  constructor(choose, attend) {
    this.choose = choose;
    this.attend = attend;
  }

  show(episode, t, agent, head) {
    this.agents(episode, t, agent);
    this.course(episode, t);
    this.agent(episode, t, agent);
    this.figures(episode, t, agent);
    this.attention(episode, t, agent, head);
    this.coach(episode, t, agent);
  }

  agents(episode, t, agent) {
    const sent = episode.at('sent', t) || [];
    const box = get('agents');
    const here = episode.agents(t);
    const slots = [];
    for (const [, present] of episode.data.present) {
      for (const slot of present) if (slot < ABOUT.agents && !slots.includes(slot)) slots.push(slot);
    }
    while (box.children.length > slots.length) box.lastChild.remove();
    slots.sort((one, other) => one - other).forEach((slot, place) => {
      let chip = box.children[place];
      if (!chip) {
        chip = make('button', 'chip');
        chip.append(make('span'), make('i'));
        chip.addEventListener('click', () => this.choose(Number(chip.dataset.agent)));
        box.append(chip);
      }
      const body = episode.body(t, slot);
      const look = (episode.latest(t, slot) || {}).look;
      chip.dataset.agent = slot;
      chip.title = episode.title(slot);
      chip.firstChild.textContent = look && look.label ? `${slot + 1} ${look.label}` : String(slot + 1);
      chip.setAttribute('aria-pressed', String(slot === agent));
      chip.setAttribute('aria-label', episode.title(slot));
      const gone = !here.includes(slot) || episode.dead(t, slot);
      chip.className = `chip${gone ? ' gone' : ''}${sent.includes(slot) ? ' sent' : ''}`;
      const bar = look ? look.gauges.findIndex((gauge) => gauge.form === 'bar') : -1;
      chip.lastChild.hidden = bar < 0;
      if (bar >= 0) chip.lastChild.style.transform = `scaleX(${body ? body.levels[bar] / look.gauges[bar].full : 0})`;
    });
  }

  course(episode, t) {
    const pill = make('span', 'pill', episode.outcome());
    if (episode.won !== null) pill.classList.add(episode.won ? 'won' : 'lost');
    else pill.hidden = true;
    const pairs = [
      ['step', `${t} of ${episode.length}`],
      ['return so far', short(episode.returns[t])],
    ];
    if (episode.drawn && episode.won !== null) {
      const alive = { team: 0, enemy: 0 };
      for (const body of episode.moments[t]) if (body) alive[body.look.side] += 1;
      pairs.push(['team alive', String(alive.team)], ['enemies alive', String(alive.enemy)]);
    }
    if (t === episode.length) {
      for (const [name, value] of Object.entries(episode.data.info)) pairs.push([name, short(value)]);
      pairs.push(['ended by', episode.data.terminated ? 'its own end' : 'the time limit']);
    }
    get('course').replaceChildren(heading(`team ${episode.data.team}`, pill), facts(pairs));
  }

  agent(episode, t, agent) {
    const box = get('agent');
    if (agent === null) {
      const words = 'Choose an agent: what it sees, attends to and decides by.';
      box.replaceChildren(heading('agent'), make('p', 'quiet', words));
      return;
    }
    const body = episode.body(t, agent);
    const pairs = [];
    const action = episode.of('actions', t, agent);
    if (action !== null) pairs.push(['does', episode.words(action)]);
    if (body) {
      body.look.gauges.forEach((gauge, place) => {
        const level = short(body.levels[place]);
        pairs.push([gauge.name, gauge.full === 1 ? level : `${level} / ${short(gauge.full)}`]);
      });
      if (body.note) pairs.push(['shows', body.note]);
    }
    const state = episode.dead(t, agent) ? 'dead' : episode.agents(t).includes(agent) ? '' : 'not in the team now';
    const title = `agent ${episode.title(agent).replace('agent ', '')}`;
    const about = make('p', 'quiet', body ? body.look.about : '');
    box.replaceChildren(heading(title, make('small', 'quiet', state)), facts(pairs), about);
  }

  figures(episode, t, agent) {
    const box = get('figures');
    const legal = agent === null ? null : episode.of('legal', t, agent);
    box.hidden = !legal;
    if (!legal) return;
    const figures = episode.of('figures', t, agent);
    const kind = figures ? (ABOUT.figure === 'probability' ? 'action probabilities' : 'action values') : 'actions';
    const action = episode.of('actions', t, agent);
    const table = ABOUT.symbols ? this.pairs(legal, figures, action) : this.bars(episode, t, legal, figures, action);
    box.replaceChildren(heading(kind, make('small', '', `${legal.length} legal`)), scrolling(table));
  }

  /** A line for each action that might be legal some time, and for each target that is. */
  bars(episode, t, legal, figures, action) {
    const table = tableOf(['', '', figures ? ABOUT.figure : '']);
    const [low, high] = range(figures);
    const all = new Set([...ABOUT.actions.keys(), ...legal, ...(action < 0 ? [action] : [])]);
    for (const number of all) {
      const place = legal.indexOf(number);
      const row = make('tr', number === action ? 'chosen' : place < 0 ? 'not' : '');
      row.dataset.action = number;
      const bar = make('td', 'bar');
      const value = figures && place >= 0 ? figures[place] : null;
      if (value !== null) {
        const fill = make('i');
        fill.style.width = `calc((100% - .8rem) * ${(value - low) / (high - low || 1)})`;
        bar.append(fill);
      }
      const text = value !== null ? value.toFixed(3) : place >= 0 || number < 0 ? '' : 'not legal';
      row.append(make('td', '', episode.words(number)), bar, make('td', 'n', text));
      table.append(row);
    }
    return table;
  }

  /** Acts by rows, what is said along with them by columns. */
  pairs(legal, figures, action) {
    const symbols = [...Array(ABOUT.symbols).keys()];
    const table = tableOf(['say', ...symbols.map(String)]);
    const [low, high] = range(figures);
    ABOUT.actions.forEach((name, act) => {
      const row = make('tr');
      row.append(make('td', '', name));
      for (const symbol of symbols) {
        const number = act * ABOUT.symbols + symbol;
        const place = legal.indexOf(number);
        const value = figures && place >= 0 ? figures[place] : null;
        const cell = make('td', 'heat', value !== null ? value.toFixed(3) : place >= 0 ? '\u2022' : '\u2013');
        cell.dataset.action = number;
        const shade = value === null ? 0 : (0.55 * (value - low)) / (high - low || 1);
        cell.style.backgroundColor = `rgba(86, 180, 233, ${shade})`;
        if (place < 0) cell.classList.add('not');
        if (number === action) cell.classList.add('chosen');
        row.append(cell);
      }
      table.append(row);
    });
    return table;
  }

  attention(episode, t, agent, head) {
    const box = get('attention');
    const sees = agent === null ? null : episode.of('sees', t, agent);
    box.hidden = !sees;
    if (!sees) return;
    const known = Boolean(episode.of('attention', t, agent));
    const words = `sees ${sees.length} of ${episode.present(t).length}`;
    const small = make('small', '', words);
    const top = known ? heading('attention', small, this.heads(head)) : heading('sight', small);
    const heads = known ? ABOUT.heads : [];
    const table = tableOf(['', ...(known ? ['mean', ...heads] : [])]);
    if (known) table.rows[0].cells[head + 2].classList.add('shown');
    for (const slot of sees) {
      const row = make('tr');
      row.dataset.slot = slot;
      row.append(make('td', episode.side(slot), slot === agent ? 'itself' : episode.title(slot)));
      const columns = known ? [-1, ...heads.keys()] : [];
      for (const column of columns) {
        const weight = episode.weight(t, agent, slot, column);
        const cell = make('td', 'heat', weight.toFixed(3));
        cell.dataset.head = column;
        cell.style.backgroundColor = `rgba(224, 143, 192, ${0.75 * Math.min(weight, 1)})`;
        row.append(cell);
      }
      table.append(row);
    }
    box.replaceChildren(top, scrolling(table));
  }

  heads(head) {
    const box = make('span', 'heads');
    [-1, ...ABOUT.heads.keys()].forEach((number) => {
      const button = make('button', '', number < 0 ? 'mean' : ABOUT.heads[number]);
      button.dataset.head = number;
      button.title = number < 0 ? 'lines: mean over heads' : `lines: head ${ABOUT.heads[number]}`;
      button.setAttribute('aria-pressed', String(number === head));
      button.addEventListener('click', () => this.attend(number));
      box.append(button);
    });
    return box;
  }

  /** What each agent was sent last. */
  coach(episode, t, agent) {
    const box = get('coach');
    const { sent, moved } = episode.data;
    box.hidden = !sent;
    if (!sent) return;
    const until = sent.slice(0, t + 1);
    const words = `spoke in ${until.filter((slots) => slots.length).length} of ${until.length} steps`;
    const table = tableOf(['to', 'last at step', 'strategy moved']);
    for (const slot of episode.agents(t)) {
      const at = until.findLastIndex((slots) => slots.includes(slot));
      const row = make('tr', at === t && at >= 0 ? 'now' : '');
      row.dataset.agent = slot;
      if (slot === agent) row.classList.add('chosen');
      const far = at < 0 || !moved ? null : moved[at][sent[at].indexOf(slot)];
      row.append(make('td', '', episode.title(slot)), make('td', 'n', at < 0 ? '' : String(at)));
      row.append(make('td', 'n', far === null ? '' : far.toFixed(3)));
      table.append(row);
    }
    box.replaceChildren(heading('coach', make('small', '', words)), scrolling(table));
  }
}

/** From where to where bars go. */
function range(figures) {
  if (!figures || !figures.length) return [0, 1];
  if (ABOUT.figure === 'probability') return [0, 1];
  const [low, high] = [Math.min(...figures), Math.max(...figures)];
  return [low - 0.15 * (high - low || 1), high];
}
