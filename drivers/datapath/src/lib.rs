//! The switch in the kernel: loads the eBPF objects, keeps the shared filter blocks, the maps, and the events of drops.
