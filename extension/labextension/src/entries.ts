/** One command and what became of it, as an element. */

import { Entry } from './api';
import { commandLine, element, plural, shortened, visible } from './text';

const STATES: Record<Entry['state'], string> = {
  asked: 'asked for',
  waiting: 'waiting for you',
  running: 'running',
  done: 'done',
  denied: 'denied',
  failed: 'failed'
};
const MOST_REQUESTS = 8;

/** In full, for the side panel. */
export function full(entry: Entry, go: (entry: Entry) => void): HTMLElement {
  const item = element('li', `keyless-entry keyless-mod-${entry.state}`);
  const head = element('div', 'keyless-head');
  head.append(element('span', 'keyless-state', STATES[entry.state]));
  if (entry.execution_count) {
    const cell = element('button', 'keyless-cell', `[${entry.execution_count}]`);
    cell.title = 'Go to its cell';
    cell.onclick = () => go(entry);
    head.append(cell);
  }
  head.append(element('time', '', new Date(entry.time).toLocaleTimeString()));
  item.append(head, element('code', 'keyless-command', commandLine(entry.tool, entry.argv)));
  for (const fact of facts(entry)) {
    item.append(element('div', 'keyless-fact', fact));
  }
  return item;
}

/** In one line, for below a cell. */
export function line(entry: Entry): HTMLElement {
  const item = element('div', `keyless-entry keyless-mod-${entry.state}`);
  item.append(element('span', 'keyless-state', STATES[entry.state]));
  item.append(element('code', '', shortened(commandLine(entry.tool, entry.argv), 90)));
  item.append(element('span', 'keyless-id', visible(entry.record_id)));
  item.title = [commandLine(entry.tool, entry.argv), ...facts(entry)].join('\n');
  return item;
}

function facts(entry: Entry): string[] {
  const told: string[] = [];
  const code = entry.exit_code ? `exit status ${entry.exit_code}` : '';
  const time = entry.duration === null ? '' : `${entry.duration.toFixed(2)} s`;
  told.push([code, time, `record ${visible(entry.record_id)}`].filter(Boolean).join(', '));
  if (entry.rule) {
    told.push(`rule ${visible(entry.rule)}${entry.approval ? `: ${visible(entry.approval)}` : ''}`);
  }
  if (entry.reason) {
    told.push(visible(entry.reason));
  }
  const taken = Object.entries(entry.redactions);
  if (taken.length) {
    const names = taken.map(([name, count]) => `${visible(name)} (${plural(count, 'time', 'times')})`);
    told.push(`taken out: ${names.join(', ')}`);
  }
  for (const request of entry.requests.slice(0, MOST_REQUESTS)) {
    const answer = request.status ? `, answered ${request.status}` : '';
    const what = `${request.action} to ${request.host}: ${request.decision}`;
    told.push(visible(what) + answer);
  }
  if (entry.requests.length > MOST_REQUESTS) {
    told.push(`and ${plural(entry.requests.length - MOST_REQUESTS, 'more request', 'more requests')}`);
  }
  return told;
}
