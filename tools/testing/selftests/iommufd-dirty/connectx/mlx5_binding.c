// SPDX-License-Identifier: GPL-2.0
/*
 * vfio-mlx5 and the functions of mlx5-model that it drives: which ones it takes, and
 * when it can go. A test that takes the functions from it gives them back.
 */
#include <signal.h>
#include <sys/wait.h>

#include "mlx5_control.h"
#include "mlx5_ways.h"
#include "modules.h"

#define PF "/sys/bus/pci/devices/0000:00:04.0"
#define FUNCTION PF "/virtfn0"
#define DRIVERS "/sys/bus/pci/drivers/"
#define MAX_FUNCTIONS 8

static const struct iommufd_dirty_range whole = { .iova = IOVA, .length = SIZE };

FIXTURE(binding)
{
	struct vf vf;
	struct tracking tracking;
	int control;
	int trackers;
};

/* Objects that the model has for trackers. */
static int count_trackers(int control_fd)
{
	char *answer = control(control_fd, "trackers"), *at;
	int count = 0;

	if (!answer)
		return -1;
	for (at = answer; (at = strchr(at, ' ')); at++)
		count++;
	free(answer);
	return count;
}

FIXTURE_SETUP(binding)
{
	vf_init(&self->vf);
	tracking_init(&self->tracking);
	if (!is_our_driver())
		SKIP(return, "set DRIVER=" VFIO_MLX5);
	self->control = control_open();
	ASSERT_NE(-1, self->control);
	/* An earlier test may have had the firmware keep some. */
	self->trackers = count_trackers(self->control);
	ASSERT_LE(0, self->trackers);
}

FIXTURE_TEARDOWN(binding)
{
	tracking_close(&self->tracking);
	vf_close(&self->vf);
	if (is_our_driver())
		close(self->control);
}

static int write_file(const char *path, const char *what)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret;

	if (fd == -1)
		return -errno;
	ret = write(fd, what, strlen(what)) == (ssize_t)strlen(what) ? 0 : -errno;
	close(fd);
	return ret;
}

/* What a link of sysfs ends with: the address of a function, the name of a driver. */
static const char *name_of(const char *link)
{
	static char target[256];
	ssize_t len = readlink(link, target, sizeof(target) - 1);

	if (len < 0)
		return "";
	target[len] = '\0';
	return strrchr(target, '/') ? strrchr(target, '/') + 1 : target;
}

static bool is_driven_by(const char *driver)
{
	return !strcmp(name_of(FUNCTION "/driver"), driver);
}

static int override(const char *driver)
{
	return write_file(FUNCTION "/driver_override", driver) ?:
	       write_file("/sys/bus/pci/drivers_probe", name_of(FUNCTION));
}

static int bind_to(const char *driver, bool bind)
{
	char path[128];

	snprintf(path, sizeof(path), DRIVERS "%s/%s", driver, bind ? "bind" : "unbind");
	return write_file(path, name_of(FUNCTION));
}

static int remove_ours(void)
{
	return remove_module(VFIO_MLX5) ? -errno : 0;
}

/* As the stage has done it: the functions keep their overrides. */
static int load_ours(void)
{
	char link[128];
	unsigned int n;

	if (system("modprobe vfio-mlx5"))
		return -1;
	for (n = 0; n < MAX_FUNCTIONS; n++) {
		snprintf(link, sizeof(link), PF "/virtfn%u", n);
		if (!access(link, F_OK) &&
		    write_file("/sys/bus/pci/drivers_probe", name_of(link)))
			return -1;
	}
	return 0;
}

static void open_and_start(struct __test_metadata *_metadata, struct vf *vf,
			   struct tracking *tracking, enum way way)
{
	vf_open(_metadata, vf, 0);
	ASSERT_EQ(0, tracking_open(tracking, way, vf, POLICY_FAIL));
	ASSERT_EQ(0, tracking_start(tracking, SZ_4K, &whole, 1));
}

TEST_F(binding, stays_while_a_function_is_open)
{
	static __u8 bitmap[SIZE / SZ_4K / 8];

	open_and_start(_metadata, &self->vf, &self->tracking, WAY_LOG);
	EXPECT_EQ(-EAGAIN, remove_ours());
	ASSERT_EQ(0, engine_fill(self->vf.engine, IOVA, 4));
	ASSERT_EQ(0, tracking_read(&self->tracking, IOVA, SIZE, bitmap));
	EXPECT_EQ(1, bitmap[0]);
	vf_close(&self->vf);
	EXPECT_EQ(self->trackers, count_trackers(self->control));
	EXPECT_EQ(0, remove_ours());
	ASSERT_EQ(0, load_ours());
}

/* The context still knows the tracker, which is gone. */
TEST_F(binding, stays_while_a_context_has_its_tracker)
{
	static __u8 bitmap[SIZE / SZ_4K / 8];

	open_and_start(_metadata, &self->vf, &self->tracking, WAY_CONTEXT);
	vf_close(&self->vf);
	EXPECT_EQ(self->trackers, count_trackers(self->control));
	EXPECT_EQ(-EAGAIN, remove_ours());
	EXPECT_EQ(-ESHUTDOWN, tracking_read(&self->tracking, IOVA, SIZE, bitmap));
	tracking_close(&self->tracking);
	EXPECT_EQ(0, remove_ours());
	ASSERT_EQ(0, load_ours());
}

/* Neither STOP nor a close by itself. */
TEST_F(binding, goes_after_who_was_killed)
{
	enum way way;
	int ready[2];
	char byte;
	pid_t pid;

	for (way = WAY_LOG; way <= WAY_CONTEXT; way++) {
		ASSERT_EQ(0, pipe(ready));
		pid = fork();
		ASSERT_NE(-1, pid);
		if (!pid) {
			open_and_start(_metadata, &self->vf, &self->tracking, way);
			if (write(ready[1], "", 1) == 1)
				pause();
			_exit(1);
		}
		close(ready[1]);
		ASSERT_EQ(1, read(ready[0], &byte, 1));
		close(ready[0]);
		EXPECT_EQ(self->trackers + 1, count_trackers(self->control));
		EXPECT_EQ(-EAGAIN, remove_ours());
		kill(pid, SIGKILL);
		ASSERT_EQ(pid, waitpid(pid, NULL, 0));
		EXPECT_EQ(self->trackers, count_trackers(self->control));
		EXPECT_EQ(0, remove_ours());
		ASSERT_EQ(0, load_ours());
	}
}

TEST_F(binding, takes_what_it_is_told_to)
{
	ASSERT_TRUE(is_driven_by(VFIO_MLX5));
	ASSERT_EQ(0, bind_to(VFIO_MLX5, false));
	/* Its ids are not enough. */
	ASSERT_EQ(0, override("\n"));
	EXPECT_TRUE(is_driven_by(""));
	ASSERT_EQ(0, override(VFIO_MLX5));
	EXPECT_TRUE(is_driven_by(VFIO_MLX5));
}

/* Any number of times: the PF forgets each one. */
TEST_F(binding, again_and_again)
{
	unsigned int i;

	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, bind_to(VFIO_MLX5, false));
		ASSERT_EQ(0, bind_to(VFIO_MLX5, true));
	}
	open_and_start(_metadata, &self->vf, &self->tracking, WAY_CONTEXT);
}

TEST_F(binding, is_not_loaded_beside_the_other_driver)
{
	ASSERT_EQ(0, remove_ours());
	ASSERT_EQ(0, system("modprobe mlx5-vfio-pci"));
	ASSERT_EQ(0, override(MLX5_VFIO_PCI));
	ASSERT_TRUE(is_driven_by(MLX5_VFIO_PCI));
	EXPECT_NE(0, system("modprobe vfio-mlx5 2> /dev/null"));
	EXPECT_EQ(0, system("dmesg | tail -n 5 | grep -q 'is bound to mlx5_vfio_pci: unbind it'"));
	EXPECT_TRUE(is_driven_by(MLX5_VFIO_PCI));
	/* The module alone is no reason. */
	ASSERT_EQ(0, bind_to(MLX5_VFIO_PCI, false));
	ASSERT_EQ(0, write_file(FUNCTION "/driver_override", VFIO_MLX5));
	EXPECT_EQ(0, load_ours());
	EXPECT_TRUE(is_driven_by(VFIO_MLX5));
	ASSERT_EQ(0, remove_module(MLX5_VFIO_PCI));
	open_and_start(_metadata, &self->vf, &self->tracking, WAY_LOG);
}

TEST_HARNESS_MAIN
