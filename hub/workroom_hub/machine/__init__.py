"""The one-machine stack: engine, network, firewall, image, proxy and hub as processes."""
