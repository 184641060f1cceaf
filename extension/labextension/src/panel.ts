/** The side panel: what waits, what this notebook did, and what this server leaves open. */

import { Widget } from '@lumino/widgets';
import { Entry, Question } from './api';
import { full } from './entries';
import { commandLine, element, visible } from './text';
import { where } from './where';
import { Watch } from './watch';

export class Panel extends Widget {
  private shown = '';
  private detailed = false;

  constructor(
    private watch: Watch,
    private go: (entry: Entry) => void
  ) {
    super();
    this.id = 'keyless-panel';
    this.title.caption = 'Keyless: what this notebook does with your credentials';
    this.addClass('keyless-panel');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', 'Keyless');
    watch.changed.connect(this.show_, this);
    this.show_();
  }

  private show_(): void {
    const { kernel, questions, entries, overview, failing } = this.watch;
    const state = JSON.stringify([
      [kernel?.id, kernel?.level, kernel?.guarantees, kernel?.attended, kernel?.credentials],
      questions.map(question => question.id),
      [entries, overview.page, overview.openings, failing]
    ]);
    if (state === this.shown) {
      return; // so that a selection, or the place that somebody scrolled to, stays
    }
    this.shown = state;
    this.node.replaceChildren(
      ...this.waiting(questions),
      ...this.isolation(),
      ...this.history(entries),
      ...this.openings()
    );
  }

  private waiting(questions: Question[]): HTMLElement[] {
    if (!questions.length) {
      return [];
    }
    const list = element('ul', 'keyless-list');
    for (const question of questions) {
      const item = element('li', 'keyless-entry keyless-mod-waiting');
      item.append(element('code', 'keyless-command', commandLine(question.tool, question.shown)));
      item.append(element('div', 'keyless-fact', `rule ${visible(question.rule)}`));
      if (question.reason) {
        item.append(element('div', 'keyless-fact', visible(question.reason)));
      }
      list.append(item);
    }
    return [element('h2', '', 'Waiting for you'), where(this.watch.overview.page), list];
  }

  private isolation(): HTMLElement[] {
    const { kernel, failing, overview } = this.watch;
    const heading = element('h2', '', 'This kernel');
    if (failing) {
      return [heading, element('p', '', 'The server does not answer.')];
    }
    if (!kernel) {
      return [heading, element('p', '', 'The notebook in front has no Keyless kernel.')];
    }
    const list = element('ul', 'keyless-plain');
    list.append(element('li', '', `Isolation: ${visible(kernel.level)}`));
    const names = (kernel.credentials ?? []).map(visible).join(', ');
    list.append(element('li', '', `Credentials: ${names || 'none'}`));
    if (kernel.answers && !kernel.attended) {
      const command = visible(overview.page.command);
      list.append(
        element('li', '', `Nobody answers questions now, so what needs an answer is denied. ${command} makes it wait for yours.`)
      );
    }
    return [heading, list, this.guarantees(kernel.guarantees ?? [])];
  }

  private guarantees(texts: string[]): HTMLElement {
    const details = element('details') as HTMLDetailsElement;
    const list = element('ul', 'keyless-plain');
    list.append(...texts.map(text => element('li', '', visible(text))));
    details.append(element('summary', '', 'What that means'), list);
    details.open = this.detailed;
    details.ontoggle = () => {
      this.detailed = details.open;
    };
    return details;
  }

  private history(entries: Entry[]): HTMLElement[] {
    if (!this.watch.kernel) {
      return [];
    }
    const list = element('ol', 'keyless-list');
    list.append(...entries.map(entry => full(entry, this.go)));
    const none = element('p', '', 'Nothing so far.');
    return [element('h2', '', 'What this notebook did'), entries.length ? list : none];
  }

  private openings(): HTMLElement[] {
    const open = Object.entries(this.watch.overview.openings);
    if (!open.length) {
      return [];
    }
    const list = element('ul', 'keyless-plain');
    list.append(...open.map(([name, what]) => element('li', '', visible(`${name}: ${what}`))));
    const text = 'A script in a notebook’s output could act as you by:';
    return [element('h2', 'keyless-mod-open', '⚠ Left open'), element('p', '', text), list];
  }
}
