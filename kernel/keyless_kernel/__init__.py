"""The kernel's side of Keyless: its provisioner, its confinement, its kernelspec, its class."""
