// All that a page can do towards another origin; gives what it could read or reach.
async ([origin, body, token]) => {
    const won = [];
    const wait = (time) => new Promise((resolve) => setTimeout(resolve, time));
    const attempt = async (name, work) => {
        try {
            const got = await Promise.race([work(), wait(1500).then(() => "")]);
            if (got) won.push(`${name}: ${got}`);
        } catch {}
    };
    const api = `${origin}/api/approve`;
    const json = { "Content-Type": "application/json", Authorization: `Bearer ${token}` };
    for (const path of ["/", "/main.js", "/token.js", "/api/kernels", "/api/events"]) {
        await attempt(`read ${path}`, async () => (await fetch(origin + path)).text());
    }
    const post = async (more) => (await fetch(api, { method: "POST", body, ...more })).text();
    await attempt("fetch", () => post({ headers: json }));
    await attempt("credentials", () => post({ headers: json, credentials: "include" }));
    for (const type of ["text/plain", "application/x-www-form-urlencoded"]) {
        await attempt("blind", () => post({ mode: "no-cors", headers: { "Content-Type": type } }));
    }
    navigator.sendBeacon(api, new Blob([body], { type: "text/plain" }));
    await attempt("form", async () => {
        const frame = document.createElement("iframe");
        frame.name = "sink";
        const form = document.createElement("form");
        Object.assign(form, { action: api, method: "post", enctype: "text/plain", target: "sink" });
        const field = document.createElement("input");
        [field.name, field.value] = [body.slice(0, -1) + ',"x":"', '"}'];
        form.append(field);
        document.body.append(frame, form);
        form.submit();
        await wait(300);
    });
    await attempt("frame", async () => {
        const frame = document.createElement("iframe");
        frame.src = origin + "/";
        document.body.append(frame);
        await new Promise((resolve) => { frame.onload = resolve; });
        return frame.contentDocument?.body.textContent;
    });
    await attempt("window", async () => {
        const other = window.open(origin + "/", "approval");
        await wait(800);
        other.postMessage({ approve: true, token }, "*");
        const seen = [];
        for (const name of ["document", "origin"]) {
            try { seen.push(String(other[name].body?.textContent ?? other[name])); } catch {}
        }
        for (let n = 0; n < 3; n++) other.postMessage(JSON.parse(body), "*");
        if (!other.closed && other.length > 0) seen.push("frames");
        return seen.filter(Boolean).join();
    });
    await attempt("websocket", () => new Promise((resolve) => {
        const socket = new WebSocket(`${origin.replace("http", "ws")}/api/events`);
        socket.onopen = () => resolve("open");
        socket.onerror = () => resolve("");
    }));
    await attempt("events", () => new Promise((resolve) => {
        const source = new EventSource(`${origin}/api/events`);
        source.onmessage = () => resolve("message");
        source.onopen = () => resolve("open");
        source.onerror = () => resolve("");
    }));
    await attempt("module", async () => Object.keys(await import(`${origin}/token.js`)).join());
    await attempt("script", () => new Promise((resolve) => {
        const script = document.createElement("script");
        script.src = `${origin}/marks.js`;
        script.onload = () => resolve("loaded");
        script.onerror = () => resolve("");
        document.head.append(script);
    }));
    await attempt("image", () => new Promise((resolve) => {
        const image = new Image();
        image.onload = () => resolve("loaded");
        image.onerror = () => resolve("");
        image.src = `${origin}/`;
    }));
    await attempt("worker", () => new Promise((resolve) => {
        const worker = new SharedWorker(`${origin}/main.js`);
        worker.onerror = () => resolve("");
        worker.port.onmessage = () => resolve("message");
    }));
    return won;
}
