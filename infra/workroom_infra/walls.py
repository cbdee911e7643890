"""Security groups: who reaches whom. Each connection that is not here stays closed."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Tags
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

WEB, PROXY_API, HUB_API, NOTEBOOK = 8000, 8001, 8081, 8888
SSH, SERVER_SSH = 2222, 2222
METASTORE, REGISTRY, POSTGRES, NFS = 9083, 5000, 5432, 2049


class Walls(Construct):
    """One security group for each kind of thing, and the ways between them.

    Args:
        scope: Parent.
        id: Name in the stack.
        vpc: The network.
        reachable_from: Networks of the people.
    """

    def __init__(
        self, scope: Construct, id: str, *, vpc: ec2.IVpc, reachable_from: Sequence[str]
    ) -> None:
        super().__init__(scope, id)
        self._vpc = vpc
        self.servers = self._group("Servers", "servers of people")
        self.machines = self._group("Machines", "machines that servers run on")
        self.hub = self._group("Hub", "the hub")
        self.proxy = self._group("Proxy", "the web proxy")
        self.gateway = self._group("Gateway", "the SSH gateway")
        self.registry = self._group("Registry", "the image registry")
        self.metastore = self._group("Metastore", "the Hive Metastore")
        self.homes = self._group("Homes", "mount targets of the homes")
        self.hub_database = self._group("HubDatabase", "database of the hub")
        self.metastore_database = self._group("MetastoreDatabase", "database of the metastore")
        self.endpoints = self._group("Endpoints", "AWS inside the network")
        self.web_door = self._group("WebDoor", "load balancer of the web page")
        self.ssh_door = self._group("SshDoor", "load balancer of ssh")
        self.registry_door = self._group("RegistryDoor", "load balancer of the registry")
        self._from_people(reachable_from)
        self._between_ours()
        self._of_servers()
        self._to_aws()

    def _from_people(self, networks: Sequence[str]) -> None:
        for network in networks:
            people = ec2.Peer.ipv4(network)
            for port in (80, 443):
                self.web_door.add_ingress_rule(people, ec2.Port.tcp(port), "people's browsers")
            self.ssh_door.add_ingress_rule(people, ec2.Port.tcp(22), "people's ssh")

    def _between_ours(self) -> None:
        self._way(self.web_door, self.proxy, WEB, "web page")
        self._way(self.ssh_door, self.gateway, SSH, "ssh")
        self._way(self.hub, self.proxy, PROXY_API, "routes")
        for source in (self.proxy, self.gateway):
            self._way(source, self.hub, HUB_API, "pages and questions")
        self._way(self.hub, self.hub_database, POSTGRES, "accounts and servers")
        self._way(self.metastore, self.metastore_database, POSTGRES, "where tables are")
        for source in (self.machines, self.registry_door):
            target = self.registry_door if source is self.machines else self.registry
            port = 443 if source is self.machines else REGISTRY
            self._way(source, target, port, "images")
        self._way(self.web_door, self.registry, REGISTRY, "images, where it is reachable")

    def _of_servers(self) -> None:
        # In: the proxy's pages, the gateway's ssh, and the hub, which looks whether they answer.
        self._way(self.proxy, self.servers, NOTEBOOK, "pages of servers")
        self._way(self.hub, self.servers, NOTEBOOK, "does it answer?")
        self._way(self.gateway, self.servers, SERVER_SSH, "ssh into servers")
        self._way(self.servers, self.hub, HUB_API, "start code and activity")
        self._way(self.servers, self.homes, NFS, "homes")
        self._way(self.servers, self.metastore, METASTORE, "tables")
        # Out: what people's code may reach. No other server lets it in.
        for port in (80, 443):
            self.servers.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(port), "packages, data")

    def _to_aws(self) -> None:
        ours = (self.machines, self.hub, self.proxy, self.gateway, self.registry, self.metastore)
        for source in (*ours, self.servers):
            self.endpoints.add_ingress_rule(source, ec2.Port.tcp(443), "AWS's services")
        for source in ours:
            # The S3 gateway has public addresses; so has an OpenID Connect provider.
            source.add_egress_rule(ec2.Peer.any_ipv4(), ec2.Port.tcp(443), "AWS's services")

    def _way(
        self, source: ec2.SecurityGroup, target: ec2.SecurityGroup, port: int, why: str
    ) -> None:
        target.add_ingress_rule(source, ec2.Port.tcp(port), why)
        source.add_egress_rule(target, ec2.Port.tcp(port), why)

    def _group(self, name: str, what: str) -> ec2.SecurityGroup:
        group = ec2.SecurityGroup(
            self, name, vpc=self._vpc, description=f"Workroom, {what}", allow_all_outbound=False
        )
        Tags.of(group).add("Name", f"workroom-{name}")
        return group
