// SPDX-License-Identifier: GPL-2.0
/*
 * SR-IOV for mlx5-model, whose VFs are functions of one multifunction device.
 *
 * QEMU takes the SR-IOV capability out of the list of what it attaches, and makes
 * VFs of its own devices only. So this module stands between the PCI core and the
 * configuration space of the PF's bus: it puts the capability back into the list,
 * hides the functions of the VFs until VF Enable is set, and gives them then the
 * addresses that the capability's VF BARs have. All else is real: the capability's
 * registers are the model's, pci_enable_sriov() makes the VFs, and a VF's
 * transactions have its own function's number.
 */

#include <linux/module.h>
#include <linux/pci.h>

#define MODEL_DEVICE	0x1021
/* Where the model has them; the first one is in the list, with nothing behind it. */
#define MODEL_FIRST	PCI_CFG_SPACE_SIZE
#define MODEL_SRIOV	0x180
#define MODEL_HEADER	(PCI_EXT_CAP_ID_SRIOV | 1 << 16)

static struct pci_bus *model_bus;
static struct pci_ops *lower;
static unsigned int pf_devfn;
static u64 vf_bar_size;
static u16 total_vfs;
/* How many VFs there are at present. The PF's driver changes it, one change at a time. */
static u16 num_vfs;

static int model_vf(unsigned int devfn)
{
	return (int)devfn - (int)pf_devfn - 1;
}

static bool model_is_vf(unsigned int devfn)
{
	return model_vf(devfn) >= 0 && model_vf(devfn) < total_vfs;
}

static u32 model_get(unsigned int devfn, int where, int size)
{
	u32 val = ~0;

	lower->read(model_bus, devfn, where, size, &val);
	return val;
}

static void model_put(unsigned int devfn, int where, int size, u32 val)
{
	lower->write(model_bus, devfn, where, size, val);
}

/* What a driver shall see in place of a byte of the configuration space. */
static u8 model_byte(unsigned int devfn, int where, u8 byte)
{
	/* A scan of the bus does not see a multifunction device. */
	if (where == PCI_HEADER_TYPE)
		return byte & ~PCI_HEADER_TYPE_MFD;

	if (!model_is_vf(devfn)) {
		if (where == MODEL_FIRST + 2)
			return (byte & 0xf) | (MODEL_SRIOV & 0xf) << 4;
		if (where == MODEL_FIRST + 3)
			return MODEL_SRIOV >> 4;
		return byte;
	}

	/* The rest is what the specification says of a VF. */
	if (where < PCI_COMMAND)
		return 0xff;
	if (where == PCI_COMMAND)
		return byte & ~PCI_COMMAND_MEMORY;
	if (where >= PCI_BASE_ADDRESS_0 && where < PCI_CARDBUS_CIS)
		return 0;
	return byte;
}

static int model_read(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 *val)
{
	int i, ret;

	if (model_is_vf(devfn) && model_vf(devfn) >= READ_ONCE(num_vfs)) {
		*val = ~0;
		return PCIBIOS_DEVICE_NOT_FOUND;
	}
	ret = lower->read(bus, devfn, where, size, val);
	if (ret || (devfn != pf_devfn && !model_is_vf(devfn)))
		return ret;
	for (i = 0; i < size; i++) {
		u8 byte = model_byte(devfn, where + i, *val >> i * 8);

		*val = (*val & ~(0xffu << i * 8)) | (u32)byte << i * 8;
	}
	return 0;
}

/* The VFs have become visible, or are no more. */
static void model_set_vfs(void)
{
	u16 ctrl = model_get(pf_devfn, MODEL_SRIOV + PCI_SRIOV_CTRL, 2);
	u16 num = model_get(pf_devfn, MODEL_SRIOV + PCI_SRIOV_NUM_VF, 2);
	u64 base = model_get(pf_devfn, MODEL_SRIOV + PCI_SRIOV_BAR, 4) & PCI_BASE_ADDRESS_MEM_MASK;
	u16 vf;

	base |= (u64)model_get(pf_devfn, MODEL_SRIOV + PCI_SRIOV_BAR + 4, 4) << 32;
	/* All ones: the PF was pulled out. */
	if (ctrl == (u16)~0 || !(ctrl & PCI_SRIOV_CTRL_VFE))
		num = 0;
	num = min(num, total_vfs);
	WRITE_ONCE(num_vfs, num);

	for (vf = 0; vf < total_vfs; vf++) {
		unsigned int devfn = pf_devfn + 1 + vf;
		u64 address = base + vf * vf_bar_size;

		model_put(devfn, PCI_COMMAND, 2, 0);
		if (vf >= num || !(ctrl & PCI_SRIOV_CTRL_MSE))
			continue;
		model_put(devfn, PCI_BASE_ADDRESS_0, 4, lower_32_bits(address));
		model_put(devfn, PCI_BASE_ADDRESS_1, 4, upper_32_bits(address));
		model_put(devfn, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	}
}

static int model_write(struct pci_bus *bus, unsigned int devfn, int where, int size, u32 val)
{
	int ret;

	if (model_is_vf(devfn)) {
		if (model_vf(devfn) >= READ_ONCE(num_vfs))
			return PCIBIOS_DEVICE_NOT_FOUND;
		if (where >= PCI_BASE_ADDRESS_0 && where < PCI_CARDBUS_CIS)
			return 0;
		/* A VF decodes memory whether its own command register says so or not. */
		if (where == PCI_COMMAND)
			val |= PCI_COMMAND_MEMORY;
	}
	ret = lower->write(bus, devfn, where, size, val);
	if (!ret && devfn == pf_devfn && where == MODEL_SRIOV + PCI_SRIOV_CTRL)
		model_set_vfs();
	return ret;
}

static struct pci_ops model_ops = {
	.read = model_read,
	.write = model_write,
};

static void model_remove_slot(void)
{
	unsigned int function;

	/* The VFs go with their PF, those that it has made. */
	for (function = 0; function <= total_vfs; function++) {
		struct pci_dev *pdev = pci_get_slot(model_bus, pf_devfn + function);

		if (pdev)
			pci_stop_and_remove_bus_device(pdev);
		pci_dev_put(pdev);
	}
}

static int __init model_init(void)
{
	struct pci_dev *pf, *vf;
	int ret = -ENODEV;
	u32 header = 0;

	pf = pci_get_device(PCI_VENDOR_ID_MELLANOX, MODEL_DEVICE, NULL);
	if (!pf)
		return -ENODEV;
	pf_devfn = pf->devfn;
	model_bus = pf->bus;
	vf = pci_get_slot(model_bus, pf_devfn + 1);
	pci_read_config_dword(pf, MODEL_SRIOV, &header);
	if (PCI_FUNC(pf_devfn) || !vf || pf->is_physfn || header != MODEL_HEADER) {
		pci_err(pf, "not mlx5-model with VFs as functions\n");
		goto out;
	}
	pci_read_config_word(pf, MODEL_SRIOV + PCI_SRIOV_TOTAL_VF, &total_vfs);
	vf_bar_size = pci_resource_len(vf, 0);

	pci_lock_rescan_remove();
	model_remove_slot();
	lower = pci_bus_set_ops(model_bus, &model_ops);
	pci_rescan_bus(model_bus);
	pci_unlock_rescan_remove();
	ret = 0;
out:
	pci_dev_put(vf);
	pci_dev_put(pf);
	return ret;
}

static void __exit model_exit(void)
{
	pci_lock_rescan_remove();
	model_remove_slot();
	pci_bus_set_ops(model_bus, lower);
	pci_rescan_bus(model_bus);
	pci_unlock_rescan_remove();
}

module_init(model_init);
module_exit(model_exit);
MODULE_DESCRIPTION("SR-IOV for mlx5-model");
MODULE_LICENSE("GPL");
