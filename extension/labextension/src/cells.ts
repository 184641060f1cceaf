/** Below each cell: what the kernel's audit says that it did. */

import { Cell, CodeCell } from '@jupyterlab/cells';
import { NotebookPanel } from '@jupyterlab/notebook';
import { PanelLayout, Widget } from '@lumino/widgets';
import { Entry } from './api';
import { line } from './entries';
import { Watch } from './watch';

const shownBelow = new WeakMap<Cell, Records>();

class Records extends Widget {
  private shown = '';

  constructor() {
    super();
    this.addClass('keyless-below');
  }

  show_(entries: Entry[]): void {
    const state = JSON.stringify(entries);
    if (state !== this.shown) {
      this.shown = state;
      this.node.replaceChildren(...entries.map(line));
      this.setHidden(!entries.length);
    }
  }
}

/** Keep the lines below the cells of the notebook in front up to date. */
export function showBelowCells(watch: Watch): void {
  watch.changed.connect(() => {
    const panel = watch.notebook;
    if (panel) {
      mark(panel, watch.entries).catch(error => console.warn('Keyless:', error));
    }
  });
}

/** Scroll to the cell that a record names. */
export async function goTo(panel: NotebookPanel, entry: Entry): Promise<void> {
  for (const [index, cell] of panel.content.widgets.entries()) {
    if (await belongs(cell, entry)) {
      panel.content.activeCellIndex = index;
      await panel.content.scrollToCell(cell, 'smart');
      return;
    }
  }
}

async function mark(panel: NotebookPanel, entries: Entry[]): Promise<void> {
  for (const cell of panel.content.widgets) {
    if (!(cell instanceof CodeCell) || cell.isDisposed) {
      continue;
    }
    const own: Entry[] = [];
    for (const entry of entries) {
      if (await belongs(cell, entry)) {
        own.unshift(entry); // oldest first, as the cell did it
      }
    }
    let below = shownBelow.get(cell);
    if (!below && own.length && cell.layout instanceof PanelLayout) {
      below = new Records();
      cell.layout.addWidget(below);
      shownBelow.set(cell, below);
    }
    below?.show_(own);
  }
}

/**
 * Whether a cell is the one that a record names: its number, and the digest of its text.  A kernel
 * that was restarted counts anew, and a cell that was changed since didn't do it as it stands.
 */
async function belongs(cell: Cell, entry: Entry): Promise<boolean> {
  if (!(cell instanceof CodeCell) || !entry.execution_count) {
    return false;
  }
  if (cell.model.executionCount !== entry.execution_count) {
    return false;
  }
  return !entry.cell_hash || (await digest(cell.model.sharedModel.getSource())) === entry.cell_hash;
}

const digests = new Map<string, string>();

async function digest(text: string): Promise<string> {
  let known = digests.get(text);
  if (known === undefined) {
    const bytes = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text));
    known = [...new Uint8Array(bytes)].map(byte => byte.toString(16).padStart(2, '0')).join('');
    if (digests.size > 1000) {
      digests.clear();
    }
    digests.set(text, known);
  }
  return known;
}
