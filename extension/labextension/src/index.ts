/** Puts Keyless into JupyterLab and Notebook 7: to be looked at.  Nothing here decides anything. */

import { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ICommandPalette } from '@jupyterlab/apputils';
import { INotebookTracker } from '@jupyterlab/notebook';
import { IStatusBar } from '@jupyterlab/statusbar';
import { LabIcon } from '@jupyterlab/ui-components';
import { Api } from './api';
import { goTo, showBelowCells } from './cells';
import { tellOfQuestions, tellOfSaves } from './notices';
import { Panel } from './panel';
import { StatusItem } from './status';
import { Watch } from './watch';

const COMMAND = 'keyless:show';
const icon = new LabIcon({
  name: 'keyless:icon',
  svgstr:
    '<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">' +
    '<g class="jp-icon3" fill="none" stroke="#616161" stroke-width="2">' +
    '<circle cx="8" cy="8" r="4"/><path d="M11 11l8 8m-3-3l2-2M3 21L21 3"/></g></svg>'
});

const plugin: JupyterFrontEndPlugin<void> = {
  id: 'keyless:plugin',
  description: 'Shows what Keyless kernels do with your credentials.',
  autoStart: true,
  requires: [INotebookTracker],
  optional: [IStatusBar, ICommandPalette],
  activate: (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    statusBar: IStatusBar | null,
    palette: ICommandPalette | null
  ) => {
    const api = new Api(app.serviceManager.serverSettings);
    const watch = new Watch(api, tracker);
    const panel = new Panel(watch, entry => {
      if (tracker.currentWidget) {
        void goTo(tracker.currentWidget, entry);
      }
    });
    panel.title.icon = icon;
    app.shell.add(panel, 'right', { rank: 700, type: 'Keyless' });
    app.commands.addCommand(COMMAND, {
      label: 'Show What This Notebook Did',
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => app.shell.activateById(panel.id)
    });
    palette?.addItem({ command: COMMAND, category: 'Keyless' });
    const open = (): void => void app.commands.execute(COMMAND);
    statusBar?.registerStatusItem('keyless:status', {
      item: new StatusItem(watch, open),
      align: 'left',
      rank: 20
    });
    tellOfQuestions(watch, open);
    tellOfSaves(api, tracker, app.serviceManager.contents);
    showBelowCells(watch);
  }
};

export default plugin;
