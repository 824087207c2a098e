# Where this repository's directories are in a kernel tree: for names of files, and
# for what is in them.
s,drivers/iommufd-dirty-vfio\b,drivers/vfio/iommufd-dirty,g
s,drivers/iommufd-dirty\b,drivers/iommu/iommufd-dirty,g
s,drivers/vfio-mlx5\b,drivers/vfio/pci/vfio-mlx5,g
# Nothing here is built out of a tree, or with patches, and what is elsewhere is not named.
s|$(or $(KBUILD_EXTMOD),$(srctree))/|$(srctree)/|
s|,\{0,1\} with `patches/` applied||
/README.md shows what this prints/d
