"""The gateway's own behaviour, with a played hub and a played sshd."""

from __future__ import annotations

import asyncio

import asyncssh
import pytest

from .ssh_world import ssh_world


async def test_a_command_its_output_and_its_exit_status(tmp_path):
    async with ssh_world(tmp_path) as world, world.person() as ssh:
        both = await ssh.run("both")
        assert (both.stdout, both.stderr, both.exit_status) == ("out", "err", 0)
        assert (await ssh.run("exit 42")).exit_status == 42
        assert (await ssh.run("kill")).exit_signal[0] == "TERM"
        assert (await ssh.run("cat", input="héllo\0\n" * 100_000)).stdout == "héllo\0\n" * 100_000


async def test_a_terminal_its_size_and_signals(tmp_path):
    async with ssh_world(tmp_path) as world, world.person() as ssh:
        shell = await ssh.run(term_type="xterm", term_size=(90, 30))
        assert shell.stdout == "shell xterm 90x30"
        process = await ssh.create_process("wait", term_type="xterm", term_size=(80, 24))
        await asyncio.sleep(0.2)
        process.change_terminal_size(100, 40)
        assert await process.stdout.read() == "size 100x40"
        process = await ssh.create_process("wait")
        await asyncio.sleep(0.2)
        process.send_signal("USR1")
        assert await process.stdout.read() == "signal USR1"


async def test_much_data_through_a_slow_reader(tmp_path):
    async with ssh_world(tmp_path) as world, world.person() as ssh:
        process = await ssh.create_process("send 30000000", encoding=None)
        total = 0
        while data := await process.stdout.read(1 << 20):
            total += len(data)
            await asyncio.sleep(0.002)
        assert total == 30_000_000


async def test_nobody_is_let_in_without_a_key_the_hub_knows(tmp_path):
    async with ssh_world(tmp_path) as world:
        other = asyncssh.generate_private_key("ssh-ed25519")
        for user, key in (("ann", other), ("bob", world.key), ("nobody", other)):
            with pytest.raises(asyncssh.PermissionDenied):
                async with world.person(user, key):
                    pass


@pytest.mark.parametrize("host", ["workroom", "localhost"])
@pytest.mark.parametrize("own_port", [False, True])
async def test_jump(tmp_path, host, own_port):
    async with ssh_world(tmp_path) as world, world.person() as outer:
        inner = asyncssh.connect(
            host,
            # What people's configuration says of the gateway is said of the jump's end as well.
            world.port if own_port else 22,
            tunnel=outer,
            username="ann",
            client_keys=[world.key],
            known_hosts=([asyncssh.import_public_key(k) for k in world.host_keys], [], []),
            config=None,
            agent_path=None,
        )
        async with inner as ssh:
            assert (await ssh.run("both")).stdout == "out"
            big = await ssh.run("send 20000000", encoding=None)
            assert len(big.stdout) == 20_000_000


async def test_forwarding(tmp_path):
    async with ssh_world(tmp_path) as world, world.person() as ssh:

        async def echo(reader, writer):
            writer.write((await reader.read(1000)).upper())
            writer.close()

        service = await asyncio.start_server(echo, "127.0.0.1", 0)
        port = service.sockets[0].getsockname()[1]
        reader, writer = await ssh.open_connection("localhost", port)
        writer.write(b"hello")
        assert await reader.read() == b"HELLO"
        for host in ("169.254.169.254", "10.0.0.1", "hub", "example.com"):
            with pytest.raises(asyncssh.ChannelOpenError):
                await ssh.open_connection(host, 80)
        listener = await ssh.forward_remote_port("", 0, "127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
        writer.write(b"back")
        assert await reader.read() == b"BACK"
        service.close()
