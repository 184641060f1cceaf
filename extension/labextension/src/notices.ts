/** Notifications: a question waits; secrets were found in a notebook that was saved. */

import { Notification } from '@jupyterlab/apputils';
import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { Contents } from '@jupyterlab/services';
import { Api, Save } from './api';
import { plural, visible } from './text';
import { address } from './where';
import { Watch } from './watch';

/** Tells of each new question, once; the notification goes when the question does. */
export function tellOfQuestions(watch: Watch, open: () => void): void {
  const told = new Map<string, string>();
  watch.changed.connect(() => {
    const waiting = new Set(watch.questions.map(question => question.id));
    for (const [question, notification] of told) {
      if (!waiting.has(question)) {
        Notification.dismiss(notification);
        told.delete(question);
      }
    }
    const page = watch.overview.page;
    const url = address(page);
    for (const question of watch.questions) {
      if (told.has(question.id)) {
        continue;
      }
      // Not the command itself: here is room for 140 characters, and its end must not be missing.
      const text = `${visible(question.tool)} waits for your answer (rule ${visible(question.rule)}).`;
      const how = url ? '' : ` Type in a terminal: ${visible(page.command)}`;
      const actions: Notification.IAction[] = [
        { label: 'Show', caption: 'What is asked', callback: () => open() }
      ];
      if (url) {
        actions.push({
          label: 'Approval page',
          displayType: 'accent',
          caption: url,
          callback: event => {
            event.preventDefault(); // it stays until the question is answered
            window.open(url, '_blank', 'noopener,noreferrer');
          }
        });
      }
      told.set(question.id, Notification.warning(text + how, { autoClose: false, actions }));
    }
  });
}

/** Tells what was found in a notebook when it was saved, once for the same findings. */
export function tellOfSaves(api: Api, tracker: INotebookTracker, contents: Contents.IManager): void {
  const told = new Map<string, string>();
  const saved = async (panel: NotebookPanel): Promise<void> => {
    const path = contents.localPath(panel.context.path);
    const save = await api.lastSave(path);
    const key = JSON.stringify([save.done, save.found]);
    const before = told.get(path);
    told.set(path, key);
    if (key !== before && (save.done === 'redacted' || save.done === 'saved')) {
      Notification.warning(said(save), { autoClose: 20000 });
    }
  };
  tracker.widgetAdded.connect((_, panel) => {
    panel.context.saveState.connect((_, state) => {
      if (state === 'completed') {
        saved(panel).catch(error => console.warn('Keyless:', error));
      }
    });
  });
}

function said(save: Save): string {
  const count = save.found.reduce((sum, each) => sum + each.count, 0);
  const first = save.found[0];
  const place = first ? `${visible(first.name)}, cell ${first.cell}, ${visible(first.part)}` : '';
  const what = plural(count, 'secret', 'secrets');
  return save.done === 'redacted'
    ? `${what} taken out of the saved file (${place}). This page still holds it.`
    : `${what} saved in this notebook (${place}).`;
}
