// Consumer groups: who is a member, who owns which partition, how far behind, and what happened.

import { ago, integer, shorten, sum } from './format.js';
import { $, el, empty, say } from './dom.js';

// Calm hues that differ in lightness too, so that neighbours can be told apart without colour vision.
const HUES = ['#7fb4ff', '#e5b45a', '#6fd0b0', '#d58ad8', '#9aa7ff', '#f0926b', '#a5d268', '#66c7e0', '#e88aa4', '#c3b59a'];

const TONES = {
  'rebalance-ended': 'good', loaded: 'good', created: 'change', joined: 'change', returned: 'change', 'generation-began': 'change',
  'rebalance-began': 'warn', left: 'warn', emptied: 'warn', 'offsets-dropped': 'warn', fenced: 'bad', deleted: 'bad',
};

const UNWANTED = ['Dead'];

export class Groups {
  #hues = new Map();
  #tabs = new Map();

  #input = [];

  constructor(onChoose) {
    this.onChoose = onChoose;
    this.chosen = null;
    $('group-tabs').addEventListener('keydown', (event) => {
      const step = { ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const keys = [...this.#tabs.keys()];
      if (!step || keys.length === 0) return;
      event.preventDefault();
      const next = keys[(keys.indexOf(this.chosen) + step + keys.length) % keys.length];
      this.onChoose(next);
      this.#tabs.get(next)?.node.focus();
    });
  }

  /** The list of groups; returns the one to look at. */
  list(groups) {
    const shown = groups.filter((group) => !UNWANTED.includes(group.state));
    const known = new Set(shown.map((group) => group.group));
    if (!known.has(this.chosen)) this.chosen = busiest(shown)?.group ?? null;
    for (const [name, tab] of this.#tabs) if (!known.has(name)) { tab.node.remove(); this.#tabs.delete(name); }
    for (const group of shown) {
      const tab = this.#tabs.get(group.group) ?? this.#tab(group.group);
      const members = group.members === 1 ? '1 member' : `${group.members} members`;
      say(tab.note, group.lag === null || group.lag === undefined ? members : `${members} · lag ${integer(group.lag)}`);
      tab.note.classList.toggle('warn', group.state !== 'Stable');
      tab.node.title = `${group.group}: ${group.state}; ${(group.topics ?? []).join(', ')}`;
      const chosen = group.group === this.chosen;
      if (chosen && tab.node.ariaSelected !== 'true') reveal(tab.node);
      tab.node.setAttribute('aria-selected', String(chosen));
      tab.node.tabIndex = chosen ? 0 : -1;
    }
    empty($('group-empty'), shown.length ? '' : 'No group yet', 'A consumer that joins the broker shows up here.');
    $('group-body').hidden = shown.length === 0;
    this.#vitals(shown);
    return this.chosen;
  }

  #vitals(groups) {
    say($('vital-groups'), integer(groups.length));
    say($('vital-members'), integer(sum(groups.map((group) => group.members)) ?? 0));
    say($('vital-lag'), integer(sum(groups.map((group) => group.lag))));
  }

  #tab(name) {
    const note = el('span', {});
    const node = el('button', { role: 'tab', type: 'button', onclick: () => this.onChoose(name) }, ends(name), note);
    const tab = { node, note };
    this.#tabs.set(name, tab);
    $('group-tabs').append(node);
    return tab;
  }

  /** What became of the records of each topic; shown with the group that reads it. */
  input(sources) {
    this.#input = sources;
    const letters = sources.reduce((total, source) => total + source.dead_letters, 0);
    say($('vital-letters'), integer(letters));
    $('vital-letters').parentElement.hidden = letters === 0;
  }

  /** One group in full. */
  show(group) {
    const badge = $('group-state');
    say(badge, group.state);
    badge.dataset.state = group.state;
    const lag = sum(group.partitions.map((partition) => partition.lag));
    const orphans = group.partitions.filter((partition) => !partition.member_id && partition.lag > 0);
    const facts = [['Generation', group.generation ?? '–'], ['Assignor', group.assignor || '–'], ['Partitions', group.partitions.length], ['Lag', integer(lag)]];
    const body = $('group-body');
    body.dataset.members = group.members.length;
    body.dataset.generation = group.generation ?? '';
    body.replaceChildren(
      el('dl', { class: 'facts' }, ...facts.map(([name, value]) => el('div', {}, el('dt', {}, name), el('dd', {}, String(value))))),
      ...(orphans.length ? [el('p', { class: 'alarm', role: 'alert' }, alarm(orphans))] : []),
      ...this.#input.filter((source) => source.group === group.group && source.dead_letters > 0).map(letters),
      el('h3', {}, group.members.length === 1 ? '1 member' : `${group.members.length} members`),
      ...group.members.map((member) => this.#member(member)),
      el('h3', {}, 'Partitions'),
      this.#partitions(group),
    );
  }

  #member(member) {
    const count = member.partitions.length;
    const title = member.instance_id ? `${member.instance_id} (static)` : member.client_id || 'no client id';
    return el('div', { class: 'member', '--who': this.#hue(member.member_id) },
      el('i', {}), el('b', {}, title), el('span', {}, count === 1 ? '1 partition' : count ? `${count} partitions` : 'idle'),
      el('small', { title: member.member_id }, `${tail(member)} ${member.client_host ?? ''}`));
  }

  #partitions(group) {
    const most = Math.max(1, ...group.partitions.map((partition) => partition.lag ?? 0));
    const rows = group.partitions.map((partition) => {
      const owned = Boolean(partition.member_id);
      const share = Math.round(((partition.lag ?? 0) / most) * 100);
      return el('tr', { '--who': owned ? this.#hue(partition.member_id) : undefined },
        el('td', { title: owned ? `${partition.topic}-${partition.partition}, owned by ${partition.member_id}` : `${partition.topic}-${partition.partition} has no owner` },
          el('i', { class: owned ? '' : 'nobody' }), partition.topic, el('span', { class: 'part' }, ` ${partition.partition}`)),
        el('td', {}, partition.committed === null ? '–' : integer(partition.committed)),
        el('td', {}, partition.end === null ? '–' : integer(partition.end)),
        el('td', { class: 'lag' }, el('span', { class: 'meter' }, bar(partition.lag ? Math.max(share, 4) : 0)), partition.lag === null ? '–' : integer(partition.lag)));
    });
    return el('table', {}, el('thead', {}, el('tr', {}, ...['Partition', 'Committed', 'End', 'Lag'].map((name) => el('th', { scope: 'col' }, name)))), el('tbody', {}, ...rows));
  }

  #hue(memberId) {
    if (!this.#hues.has(memberId)) this.#hues.set(memberId, HUES[this.#hues.size % HUES.length]);
    return this.#hues.get(memberId);
  }

  /** What happened, newest first. */
  timeline(events) {
    const list = $('timeline');
    const stamp = JSON.stringify(events.map((event) => [event.at_ms, event.kind, event.text]));
    if (list.dataset.stamp !== stamp) {
      list.dataset.stamp = stamp;
      list.replaceChildren(...events.map((event) => el('li', { 'data-tone': TONES[event.kind] ?? '' },
        el('p', {}, event.text, event.generation >= 0 ? el('small', {}, `generation ${event.generation}`) : null),
        el('time', { datetime: new Date(event.at_ms).toISOString(), 'data-ms': event.at_ms, title: new Date(event.at_ms).toISOString() }, ''))));
    }
    for (const time of list.querySelectorAll('time')) say(time, ago(Number(time.dataset.ms)));
    $('timeline-title').hidden = events.length === 0;
  }
}

/** Scrolls a list, and nothing around it, so far that one of its children is seen. */
function reveal(child) {
  const [inner, outer] = [child.getBoundingClientRect(), child.parentElement.getBoundingClientRect()];
  child.parentElement.scrollTop += Math.min(0, inner.top - outer.top) + Math.max(0, inner.bottom - outer.bottom);
}

/** A name whose middle is left out where it is too long: what tells groups apart mostly stands at their ends. */
function ends(name) {
  const tail = Math.max(0, name.length - 12);
  return el('span', {}, el('span', {}, name.slice(0, tail)), el('span', {}, name.slice(tail)));
}

/** The group that is worth a first look: with members, then with records committed, then with the most members. */
function busiest(groups) {
  const rank = (group) => (group.members > 0 ? 1e6 : 0) + (Number.isFinite(group.lag) ? 1e5 : 0) + group.members;
  return [...groups].sort((a, b) => rank(b) - rank(a))[0];
}

function alarm(orphans) {
  const names = orphans.slice(0, 3).map((partition) => `${partition.topic} ${partition.partition}`).join(', ');
  const more = orphans.length > 3 ? ` and ${orphans.length - 3} more` : '';
  return `Nobody reads ${names}${more}: records wait there and no member owns it.`;
}

/** What could not be handled, where it is kept, and why. */
function letters(source) {
  const many = source.dead_letters === 1 ? '1 record' : `${integer(source.dead_letters)} records`;
  const last = source.last_dead_letter;
  return el('div', { class: 'alarm letters', role: 'status' },
    el('p', {}, `${many} of ${source.topic} could not be handled.`),
    el('p', {}, 'Kept in ', el('code', {}, source.dead_letter_topic)),
    last ? el('p', { class: 'why' }, `Last, ${ago(last.at_ms)} ago: partition ${last.partition}, offset ${last.offset}: ${last.why}`) : null);
}

/** The part of a member's id that its client id or instance id does not already say. */
function tail(member) {
  const said = [member.instance_id, member.client_id].find((name) => name && member.member_id.startsWith(`${name}-`));
  return shorten(said ? member.member_id.slice(said.length + 1) : member.member_id, 8, 6);
}

function bar(share) {
  const node = el('b', {});
  node.style.width = `${share}%`;
  return node;
}
