// A line in: `true` in the sandbox of @anthropic-ai/sandbox-runtime, as a program embeds it; a line
// out: how many seconds it took.  Called by benchmarks/peer_process.py with the package's folder.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const library = pathToFileURL(join(process.argv[2], 'dist', 'index.js'));
const { SandboxManager } = await import(library);
await SandboxManager.initialize({
  network: { allowedDomains: [], deniedDomains: [] },
  filesystem: { denyRead: [], allowWrite: ['.'], denyWrite: [] }
});
console.log('ready');
for await (const _ of createInterface({ input: process.stdin })) {
  const begun = process.hrtime.bigint();
  const command = await SandboxManager.wrapWithSandbox('/usr/bin/true');
  const child = spawn(command, { shell: true, stdio: 'ignore' });
  const code = await new Promise(resolve => child.on('close', resolve));
  const took = Number(process.hrtime.bigint() - begun) / 1e9;
  console.log(code === 0 ? took : `failed: ${code}`);
}
await SandboxManager.reset();
process.exit(0);
