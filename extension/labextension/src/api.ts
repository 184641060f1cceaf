/** What the server extension says (`/keyless/api/…`).  There are only GETs. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

/** A question that waits for a person. */
export interface Question {
  id: string;
  tool: string;
  shown: string[];
  rule: string;
  reason: string;
  record_id: string;
  execution_count: number;
  cell_hash: string;
  asked: string;
  seconds_left: number;
}

/** A command under way. */
export interface Running {
  record_id: string;
  tool: string;
  argv: string[];
  seconds: number;
}

/** A Keyless kernel of this server; all but the first three are there when its sidecar answers. */
export interface Kernel {
  id: string;
  level: string;
  answers: boolean;
  guarantees?: string[];
  attended?: boolean;
  audit_records?: number;
  tools?: string[];
  credentials?: string[];
  running?: Running[];
  pending?: Question[];
}

export interface Overview {
  kernels: Kernel[];
  /** Where questions are answered: an address, empty where no page runs, and what to type. */
  page: { url: string; command: string };
  /** What of this server a script in a notebook could use to act as the person. */
  openings: Record<string, string>;
}

/** What became of one command. */
export interface Entry {
  record_id: string;
  time: string;
  tool: string;
  argv: string[];
  execution_count: number;
  cell_hash: string;
  origin: string;
  state: 'asked' | 'waiting' | 'running' | 'done' | 'denied' | 'failed';
  rule: string;
  reason: string;
  approval: string;
  exit_code: number | null;
  duration: number | null;
  redactions: Record<string, number>;
  requests: { action: string; host: string; decision: string; status: number }[];
}

/** A secret that was in a notebook when it was saved. */
export interface Found {
  cell: number;
  part: string;
  line: number;
  name: string;
  count: number;
}

export interface Save {
  time: string;
  found: Found[];
  done: '' | 'clean' | 'redacted' | 'saved' | 'refused' | 'unknown';
}

export class Api {
  constructor(private settings: ServerConnection.ISettings) {}

  overview(): Promise<Overview> {
    return this.get<Overview>(['kernels']);
  }

  async audit(kernel: string): Promise<Entry[]> {
    return (await this.get<{ records: Entry[] }>(['kernels', kernel, 'audit'])).records;
  }

  lastSave(path: string): Promise<Save> {
    return this.get<Save>(['saves'], { path });
  }

  private async get<T>(parts: string[], query: Record<string, string> = {}): Promise<T> {
    const address =
      URLExt.join(this.settings.baseUrl, 'keyless', 'api', ...parts.map(encodeURIComponent)) +
      (Object.keys(query).length ? URLExt.objectToQueryString(query) : '');
    const response = await ServerConnection.makeRequest(address, { method: 'GET' }, this.settings);
    if (!response.ok) {
      throw new Error(`The server answered with status ${response.status}.`);
    }
    return (await response.json()) as T;
  }
}
