"""What the kernel side and the sidecar say to each other: wire types, frames, exceptions."""
