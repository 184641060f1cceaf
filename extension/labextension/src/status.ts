/** The status bar's item: isolation level, and how many questions wait.  Looking only. */

import { Widget } from '@lumino/widgets';
import { element, plural, visible } from './text';
import { Watch } from './watch';

export class StatusItem extends Widget {
  private button = element('button', 'keyless-status') as HTMLButtonElement;

  constructor(
    private watch: Watch,
    open: () => void
  ) {
    super();
    this.addClass('keyless-status-item');
    this.button.type = 'button';
    this.button.onclick = open;
    this.node.append(this.button);
    watch.changed.connect(this.show_, this);
    this.show_();
  }

  private show_(): void {
    const { kernel, questions, overview, failing } = this.watch;
    const waiting = questions.length;
    const openings = Object.keys(overview.openings).length;
    const level = kernel ? kernel.level || 'starting' : 'not this kernel';
    const parts = [`Keyless: ${failing ? 'no answer' : visible(level)}`];
    if (kernel && !kernel.answers && !failing) {
      parts.push('its sidecar is silent');
    }
    if (waiting) {
      parts.push(`${waiting} waiting for you`);
    }
    if (openings) {
      parts.push(`⚠ ${plural(openings, 'way', 'ways')} open`);
    }
    this.button.textContent = parts.join(' · ');
    this.button.classList.toggle('keyless-mod-waiting', waiting > 0);
    this.button.classList.toggle('keyless-mod-open', openings > 0);
    this.button.title = [
      ...(kernel?.guarantees ?? []).map(visible),
      'Click for what this notebook did.'
    ].join('\n');
  }
}
