// SPDX-License-Identifier: GPL-2.0
/*
 * A VFIO driver for QEMU's iommu-testdev, a PCI device that writes by DMA where it is
 * told. It is vfio-pci, but for this: the device can be migrated.
 *
 * The device writes only while its trigger register is read. So it is stopped if BAR 0
 * cannot be accessed: that is why BAR 0 cannot be mapped.
 */
#include <linux/io.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/vfio_pci_core.h>

#include "migration.h"

#define TESTDEV_NAME "iommufd-dirty-testdev"
#define TESTDEV_DEVICE 0x0005

/* The registers of the device. Those that are not here cannot be read back. */
#define RESULT 0x10
#define DOORBELL 0x14

#define RESULT_ARMED 0xfffffffe
#define RESULT_IDLE 0xffffffff
#define ARM 1

/* Address, length, attributes and what the result is compared with. */
static const u8 plain_registers[] = { 0x04, 0x08, 0x0c, 0x18, 0x1c, 0x20 };

#define TESTDEV_MAGIC 0x44545649

/**
 * struct testdev_state - A device's state, as it is migrated
 * @magic: TESTDEV_MAGIC
 * @result: The register. RESULT_ARMED also says that the next trigger writes
 * @plain: The other registers
 */
struct testdev_state {
	__le32 magic;
	__le32 result;
	__le32 plain[ARRAY_SIZE(plain_registers)];
};

struct testdev {
	struct vfio_pci_core_device core;
	struct migration migration;
};

static struct testdev *to_testdev(struct vfio_device *vdev)
{
	return container_of(vdev, struct testdev, core.vdev);
}

/* As QEMU resets it. */
static const struct testdev_state initial_state = {
	.magic = cpu_to_le32(TESTDEV_MAGIC),
	.result = cpu_to_le32(RESULT_IDLE),
	.plain[3] = cpu_to_le32(BIT(1)), /* attributes: not secure */
};

/*
 * Makes BAR 0 accessible, whatever the guest has written to the command register.
 * That is returned, to be restored.
 */
static u16 registers_begin(struct testdev *dev)
{
	struct pci_dev *pdev = dev->core.pdev;
	u16 command;

	down_write(&dev->core.memory_lock);
	pci_read_config_word(pdev, PCI_COMMAND, &command);
	pci_write_config_word(pdev, PCI_COMMAND, command | PCI_COMMAND_MEMORY);
	return command;
}

static void registers_end(struct testdev *dev, u16 command)
{
	pci_write_config_word(dev->core.pdev, PCI_COMMAND, command);
	up_write(&dev->core.memory_lock);
}

static int testdev_save(struct migration *migration, void *data)
{
	struct testdev *dev = container_of(migration, struct testdev, migration);
	void __iomem *bar = vfio_pci_core_get_iomap(&dev->core, 0);
	struct testdev_state *state = data;
	u16 command;

	if (IS_ERR(bar))
		return PTR_ERR(bar);
	command = registers_begin(dev);
	state->magic = cpu_to_le32(TESTDEV_MAGIC);
	state->result = cpu_to_le32(ioread32(bar + RESULT));
	for (int i = 0; i < ARRAY_SIZE(plain_registers); i++)
		state->plain[i] =
			cpu_to_le32(ioread32(bar + plain_registers[i]));
	registers_end(dev, command);
	return 0;
}

static int testdev_load(struct migration *migration, const void *data)
{
	struct testdev *dev = container_of(migration, struct testdev, migration);
	void __iomem *bar = vfio_pci_core_get_iomap(&dev->core, 0);
	const struct testdev_state *state = data;
	u32 result = le32_to_cpu(state->result);
	u16 command;

	if (IS_ERR(bar))
		return PTR_ERR(bar);
	if (le32_to_cpu(state->magic) != TESTDEV_MAGIC)
		return -EINVAL;
	command = registers_begin(dev);
	for (int i = 0; i < ARRAY_SIZE(plain_registers); i++)
		iowrite32(le32_to_cpu(state->plain[i]),
			  bar + plain_registers[i]);
	/* The doorbell sets the result as well. */
	iowrite32(result == RESULT_ARMED ? ARM : 0, bar + DOORBELL);
	iowrite32(result, bar + RESULT);
	registers_end(dev, command);
	return 0;
}

static struct file *testdev_set_state(struct vfio_device *vdev,
				      enum vfio_device_mig_state state)
{
	return migration_set_state(&to_testdev(vdev)->migration, vdev, state);
}

static int testdev_get_state(struct vfio_device *vdev,
			     enum vfio_device_mig_state *state)
{
	*state = migration_get_state(&to_testdev(vdev)->migration);
	return 0;
}

static int testdev_get_data_size(struct vfio_device *vdev,
				 unsigned long *length)
{
	*length = sizeof(struct testdev_state);
	return 0;
}

static const struct vfio_migration_ops testdev_mig_ops = {
	.migration_set_state = testdev_set_state,
	.migration_get_state = testdev_get_state,
	.migration_get_data_size = testdev_get_data_size,
};

static bool is_bar0(loff_t pos)
{
	return VFIO_PCI_OFFSET_TO_INDEX(pos) == VFIO_PCI_BAR0_REGION_INDEX;
}

static ssize_t testdev_read(struct vfio_device *vdev, char __user *buf,
			    size_t count, loff_t *ppos)
{
	struct migration *migration = &to_testdev(vdev)->migration;

	if (!is_bar0(*ppos))
		return vfio_pci_core_read(vdev, buf, count, ppos);
	guard(mutex)(&migration->lock);
	if (!migration_running(migration))
		return -EBUSY;
	return vfio_pci_core_read(vdev, buf, count, ppos);
}

static ssize_t testdev_write(struct vfio_device *vdev, const char __user *buf,
			     size_t count, loff_t *ppos)
{
	struct migration *migration = &to_testdev(vdev)->migration;

	if (!is_bar0(*ppos))
		return vfio_pci_core_write(vdev, buf, count, ppos);
	guard(mutex)(&migration->lock);
	if (!migration_running(migration))
		return -EBUSY;
	return vfio_pci_core_write(vdev, buf, count, ppos);
}

/* The device itself cannot be reset. */
static int testdev_reset(struct testdev *dev)
{
	int ret;

	guard(mutex)(&dev->migration.lock);
	ret = testdev_load(&dev->migration, &initial_state);
	if (!ret)
		migration_restart(&dev->migration);
	return ret;
}

static long testdev_ioctl(struct vfio_device *vdev, unsigned int cmd,
			  unsigned long arg)
{
	if (cmd == VFIO_DEVICE_RESET)
		return testdev_reset(to_testdev(vdev));
	return vfio_pci_core_ioctl(vdev, cmd, arg);
}

static int testdev_open(struct vfio_device *vdev)
{
	struct testdev *dev = to_testdev(vdev);
	int ret;

	ret = vfio_pci_core_enable(&dev->core);
	if (ret)
		return ret;
	ret = testdev_reset(dev);
	if (ret) {
		vfio_pci_core_disable(&dev->core);
		return ret;
	}
	vfio_pci_core_finish_enable(&dev->core);
	dev->core.bar_mmap_supported[0] = false;
	return 0;
}

static void testdev_close(struct vfio_device *vdev)
{
	struct migration *migration = &to_testdev(vdev)->migration;

	scoped_guard(mutex, &migration->lock)
		migration_restart(migration);
	vfio_pci_core_close_device(vdev);
}

static int testdev_init(struct vfio_device *vdev)
{
	struct testdev *dev = to_testdev(vdev);
	int ret;

	BUILD_BUG_ON(sizeof(struct testdev_state) > MIGRATION_MAX);
	ret = vfio_pci_core_init_dev(vdev);
	if (ret)
		return ret;
	mutex_init(&dev->migration.lock);
	dev->migration.size = sizeof(struct testdev_state);
	dev->migration.save = testdev_save;
	dev->migration.load = testdev_load;
	vdev->migration_flags = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P;
	vdev->mig_ops = &testdev_mig_ops;
	return 0;
}

static void testdev_release(struct vfio_device *vdev)
{
	mutex_destroy(&to_testdev(vdev)->migration.lock);
	vfio_pci_core_release_dev(vdev);
}

static const struct vfio_device_ops testdev_ops = {
	.name = TESTDEV_NAME,
	.init = testdev_init,
	.release = testdev_release,
	.open_device = testdev_open,
	.close_device = testdev_close,
	.ioctl = testdev_ioctl,
	.get_region_info_caps = vfio_pci_ioctl_get_region_info,
	.device_feature = vfio_pci_core_ioctl_feature,
	.read = testdev_read,
	.write = testdev_write,
	.mmap = vfio_pci_core_mmap,
	.request = vfio_pci_core_request,
	.match = vfio_pci_core_match,
	.match_token_uuid = vfio_pci_core_match_token_uuid,
	.bind_iommufd = vfio_iommufd_physical_bind,
	.unbind_iommufd = vfio_iommufd_physical_unbind,
	.attach_ioas = vfio_iommufd_physical_attach_ioas,
	.detach_ioas = vfio_iommufd_physical_detach_ioas,
};

static int testdev_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct testdev *dev;
	int ret;

	dev = vfio_alloc_device(testdev, core.vdev, &pdev->dev, &testdev_ops);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	dev_set_drvdata(&pdev->dev, &dev->core);
	ret = vfio_pci_core_register_device(&dev->core);
	if (ret)
		vfio_put_device(&dev->core.vdev);
	return ret;
}

static void testdev_remove(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = dev_get_drvdata(&pdev->dev);

	vfio_pci_core_unregister_device(core);
	vfio_put_device(&core->vdev);
}

static const struct pci_device_id testdev_table[] = {
	{ PCI_DRIVER_OVERRIDE_DEVICE_VFIO(PCI_VENDOR_ID_REDHAT,
					  TESTDEV_DEVICE) },
	{}
};
MODULE_DEVICE_TABLE(pci, testdev_table);

static struct pci_driver testdev_driver = {
	.name = TESTDEV_NAME,
	.id_table = testdev_table,
	.probe = testdev_probe,
	.remove = testdev_remove,
	.err_handler = &vfio_pci_core_err_handlers,
	.driver_managed_dma = true,
};
module_pci_driver(testdev_driver);

MODULE_DESCRIPTION("VFIO driver for QEMU's iommu-testdev, for the tests of iommufd-dirty");
MODULE_AUTHOR("The iommufd-dirty authors");
MODULE_LICENSE("GPL");
