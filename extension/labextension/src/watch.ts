/** What the kernels of this server do, asked every two seconds while the page is seen. */

import { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import { Poll } from '@lumino/polling';
import { ISignal, Signal } from '@lumino/signaling';
import { Api, Entry, Kernel, Overview, Question } from './api';

const INTERVAL = 2000;
const NOTHING: Overview = { kernels: [], page: { url: '', command: '' }, openings: {} };

export class Watch {
  private _changed = new Signal<this, void>(this);
  private _overview = NOTHING;
  private _entries: Entry[] = [];
  private _entriesOf = '';
  private _failing = false;
  private poll: Poll;

  constructor(
    private api: Api,
    private tracker: INotebookTracker
  ) {
    this.poll = new Poll({
      name: 'keyless:watch',
      factory: () => this.look(),
      frequency: { interval: INTERVAL, backoff: true, max: 30000 },
      standby: 'when-hidden'
    });
    tracker.currentChanged.connect(() => void this.poll.refresh());
  }

  /** Something that is shown may have changed. */
  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get overview(): Overview {
    return this._overview;
  }

  /** Whether the server doesn't say at the moment. */
  get failing(): boolean {
    return this._failing;
  }

  /** Of the notebook in front. */
  get notebook(): NotebookPanel | null {
    return this.tracker.currentWidget;
  }

  /** Its kernel, where that is a Keyless one. */
  get kernel(): Kernel | undefined {
    const id = this.notebook?.sessionContext.session?.kernel?.id;
    return this._overview.kernels.find(kernel => kernel.id === id);
  }

  /** What it did, newest first. */
  get entries(): Entry[] {
    return this.kernel?.id === this._entriesOf.split(' ')[0] ? this._entries : [];
  }

  /** All questions of all kernels. */
  get questions(): Question[] {
    return this._overview.kernels.flatMap(kernel => kernel.pending ?? []);
  }

  private async look(): Promise<void> {
    try {
      this._overview = await this.api.overview();
      const kernel = this.kernel;
      // Asked only when there is something new.
      const state = kernel?.answers ? `${kernel.id} ${kernel.audit_records}` : '';
      if (kernel && state && state !== this._entriesOf) {
        this._entries = await this.api.audit(kernel.id);
        this._entriesOf = state;
      }
      this._failing = false;
    } catch (error) {
      this._failing = true;
      throw error; // so that it is asked less often
    } finally {
      this._changed.emit();
    }
  }
}
