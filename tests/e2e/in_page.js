// Runs inside a page of a user's server, with that page's origin, cookies and rights.
({
  base() {
    return JSON.parse(document.getElementById("jupyter-config-data").textContent).baseUrl;
  },

  async api({ method, path, body }) {
    const xsrf = decodeURIComponent(/(?:^|; )_xsrf=([^;]*)/.exec(document.cookie)?.[1] ?? "");
    const answer = await fetch(this.base() + "api/" + path, {
      method,
      headers: { "X-XSRFToken": xsrf, "Content-Type": "application/json" },
      body: body === null ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    return { status: answer.status, body: text ? JSON.parse(text) : null };
  },

  socket(path) {
    return new WebSocket(location.origin.replace(/^http/, "ws") + this.base() + path);
  },

  // Runs code in a kernel; resolves with all it printed or showed, as text.
  run({ kernel, code, seconds }) {
    return new Promise((resolve, reject) => {
      const socket = this.socket(`api/kernels/${kernel}/channels?session_id=${crypto.randomUUID()}`);
      const id = crypto.randomUUID();
      const output = [];
      let status = null;
      let idle = false;
      const late = setTimeout(() => { socket.close(); reject(new Error(`no answer in ${seconds} s: ${output.join("")}`)); }, seconds * 1000);
      socket.onerror = () => reject(new Error("the kernel's websocket failed"));
      socket.onopen = () => socket.send(JSON.stringify({
        channel: "shell",
        header: { msg_id: id, msg_type: "execute_request", username: "", session: id, version: "5.3", date: new Date().toISOString() },
        parent_header: {}, metadata: {}, buffers: [],
        content: { code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false, stop_on_error: true },
      }));
      socket.onmessage = ({ data }) => {
        if (typeof data !== "string") return;
        const message = JSON.parse(data);
        if (message.parent_header?.msg_id !== id) return;
        const { content } = message;
        if (message.msg_type === "stream") output.push(content.text);
        if (content.data?.["text/plain"]) output.push(content.data["text/plain"]);
        if (message.msg_type === "error") output.push(`${content.ename}: ${content.evalue}`);
        if (message.msg_type === "execute_reply") status = content.status;
        if (message.msg_type === "status" && content.execution_state === "idle") idle = true;
        if (idle && status) {
          clearTimeout(late);
          socket.close();
          resolve({ status, text: output.join("") });
        }
      };
    });
  },

  // Follows a terminal (sending `input` first, if any) until its output matches `until`.
  terminal({ name, input, until, seconds }) {
    return new Promise((resolve, reject) => {
      const socket = this.socket(`terminals/websocket/${name}`);
      let seen = "";
      const late = setTimeout(() => { socket.close(); reject(new Error(`no ${until} in ${seconds} s: ${seen}`)); }, seconds * 1000);
      socket.onerror = () => reject(new Error("the terminal's websocket failed"));
      socket.onopen = () => { if (input) socket.send(JSON.stringify(["stdin", input])); };
      socket.onmessage = ({ data }) => {
        const [kind, text] = JSON.parse(data);
        if (kind === "stdout") seen += text;
        if (new RegExp(until).test(seen)) {
          clearTimeout(late);
          socket.close();
          resolve(seen);
        }
      };
    });
  },
})
