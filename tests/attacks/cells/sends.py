"""Let the tool send its secret: to listeners in the kernel's sandbox and on the host, by the proxy.

Wall: network namespace of tools
"""

received = []


def keep(link, datagrams):
    link.settimeout(5)
    try:
        if datagrams:
            received.append(link.recv(65536))
            return
        connection, _ = link.accept()
        connection.settimeout(2)
        received.append(connection.recv(65536))
    except OSError:
        return


threads, ports = [], {}
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    ports[kind] = "9"
    try:
        link = socket.socket(socket.AF_INET, kind)
    except OSError:
        continue  # a kernel without any network: the tool may still try
    link.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        link.listen()
    ports[kind] = str(link.getsockname()[1])
    threads.append(threading.Thread(target=keep, args=(link, kind == socket.SOCK_DGRAM)))
unix = socket.socket(socket.AF_UNIX)
unix.bind("loot.sock")
unix.listen()
os.chmod("loot.sock", 0o777)
threads.append(threading.Thread(target=keep, args=(unix, False)))
for thread in threads:
    thread.start()
tool("leaky", "send", "127.0.0.1", ports[socket.SOCK_STREAM])
tool("leaky", "send-udp", "127.0.0.1", ports[socket.SOCK_DGRAM])
tool("leaky", "send-unix", "loot.sock")
tool("leaky", "send-unix", str(HERE / "loot"), ".sock")  # in pieces, so that no rule sees a path
for port in (ports[socket.SOCK_STREAM], str(HINTS["listener"]), str(HINTS["aws"])):
    for host in ("127.0.0.1", "localhost", "0x7f.1", "[::1]", "169.254.169.254"):
        tool("leaky", "send-by-proxy", host, port)
tool("leaky", "send", "127.0.0.1", str(HINTS["listener"]))
for thread in threads:
    thread.join()
for data in received:
    take(data, "arrived")
