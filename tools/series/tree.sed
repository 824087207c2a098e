# Where this repository's directories are in a kernel tree: for names of files, and
# for what is in them.
s,drivers/iommufd-dirty-vfio\b,drivers/vfio/iommufd-dirty,g
s,drivers/iommufd-dirty\b,drivers/iommu/iommufd-dirty,g
s,drivers/vfio-mlx5\b,drivers/vfio/pci/vfio-mlx5,g
