/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A function whose firmware misbehaves: operations that must end in bounded time, and
 * what holds after each.
 */
#ifndef SELFTESTS_MLX5_FAULTS_H
#define SELFTESTS_MLX5_FAULTS_H

#include <pthread.h>
#include <sys/poll.h>
#include <time.h>

#include "mlx5_control.h"
#include "mlx5_ways.h"

#define PAGES (SIZE / SZ_4K)
#define BYTES (PAGES / 8)
/*
 * Milliseconds. The stage gives the drivers shorter ones for what they wait for; a
 * debug kernel on a busy host is slow.
 */
#define BOUND 30000

/* Opcodes, as include/linux/mlx5/mlx5_ifc.h has them. */
enum {
	CREATE_MKEY = 0x200,
	DESTROY_MKEY = 0x202,
	CREATE_CQ = 0x400,
	DESTROY_CQ = 0x401,
	CREATE_QP = 0x500,
	DESTROY_QP = 0x501,
	RST2INIT_QP = 0x502,
	INIT2RTR_QP = 0x503,
	RTR2RTS_QP = 0x504,
	ALLOC_PD = 0x800,
	DEALLOC_PD = 0x801,
	ALLOC_UAR = 0x802,
	DEALLOC_UAR = 0x803,
	CREATE_GENERAL_OBJECT = 0xa00,
	MODIFY_GENERAL_OBJECT = 0xa01,
	QUERY_GENERAL_OBJECT = 0xa02,
	DESTROY_GENERAL_OBJECT = 0xa03,
};

static const struct iommufd_dirty_range whole = { .iova = IOVA, .length = SIZE };

/**
 * struct faulty - A function, and what it is asked to do
 * @control: The model
 * @left: Trackers that the firmware refused to destroy
 * @bitmap: What the READs have reported
 * @hung: Operations that did not end by themselves
 * @ms: How long the last one took
 */
struct faulty {
	struct vf vf;
	struct tracking tracking;
	int control;
	int left;
	__u8 bitmap[BYTES];
	unsigned int hung;
	unsigned int ms;
};

typedef int (*step_fn)(struct faulty *faulty);

static inline int op_start(struct faulty *faulty)
{
	return tracking_start(&faulty->tracking, SZ_4K, &whole, 1);
}

static inline int op_read(struct faulty *faulty)
{
	return tracking_read(&faulty->tracking, IOVA, SIZE, faulty->bitmap);
}

static inline int op_stop(struct faulty *faulty)
{
	return tracking_stop(&faulty->tracking);
}

static inline unsigned int now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/**
 * struct operation - One that runs in a thread of its own
 * @ended: When, or 0
 * @ret: What it returned
 */
struct operation {
	struct faulty *faulty;
	step_fn op;
	pthread_t thread;
	unsigned int began;
	unsigned int ended;
	int ret;
};

static inline void *run_operation(void *arg)
{
	struct operation *operation = arg;

	operation->ret = operation->op(operation->faulty);
	__atomic_store_n(&operation->ended, now_ms() ?: 1, __ATOMIC_RELEASE);
	return NULL;
}

static inline void begin(struct __test_metadata *_metadata, struct operation *operation,
			 struct faulty *faulty, step_fn op)
{
	*operation = (struct operation){ .faulty = faulty, .op = op, .began = now_ms() };
	ASSERT_EQ(0, pthread_create(&operation->thread, NULL, run_operation, operation));
}

static inline bool ends_within(struct operation *operation, unsigned int ms)
{
	unsigned int began = now_ms();

	do {
		if (__atomic_load_n(&operation->ended, __ATOMIC_ACQUIRE))
			return true;
		usleep(1000);
	} while (now_ms() - began < ms);
	return false;
}

/*
 * What it returned. If it waits forever, as the C driver does, it gets an event that
 * ends the wait.
 */
static inline int end(struct __test_metadata *_metadata, struct operation *operation)
{
	struct faulty *faulty = operation->faulty;

	if (!ends_within(operation, is_our_driver() ? BOUND : BOUND / 3)) {
		faulty->hung++;
		control_do(faulty->control, "forget");
		control_do(faulty->control, "fail-tracker %x", faulty->vf.number + 1);
		ASSERT_TRUE(ends_within(operation, BOUND))
		{
			TH_LOG("it hangs");
		}
	}
	pthread_join(operation->thread, NULL);
	faulty->ms = operation->ended - operation->began;
	return operation->ret;
}

static inline int run_bounded(struct __test_metadata *_metadata, struct faulty *faulty, step_fn op)
{
	struct operation operation;

	begin(_metadata, &operation, faulty, op);
	return end(_metadata, &operation);
}

/* Objects that the model has for trackers. */
static inline int count_trackers(struct faulty *faulty)
{
	char *answer = control(faulty->control, "trackers"), *at;
	int count = 0;

	if (!answer)
		return -1;
	for (at = answer; (at = strchr(at, ' ')); at++)
		count++;
	free(answer);
	return count;
}

static inline int new_trackers(struct faulty *faulty)
{
	return count_trackers(faulty) - faulty->left;
}

/* Three pages, two of them adjacent: so few that a lost one is noticed. */
#define MARK (IOVA + 99 * SZ_4K)

static inline __u32 write_mark(struct faulty *faulty)
{
	return engine_fill(faulty->vf.engine, MARK, 2 * SZ_4K) +
	       engine_fill(faulty->vf.engine, MARK + 100 * SZ_4K, 4);
}

static inline unsigned int marks_in(const __u8 *bitmap)
{
	__u64 page = (MARK - IOVA) / SZ_4K;

	return bit_test(bitmap, page) + bit_test(bitmap, page + 1) +
	       bit_test(bitmap, page + 100);
}

static inline unsigned int dirty_in(const __u8 *bitmap)
{
	unsigned int i, sum = 0;

	for (i = 0; i < BYTES; i++)
		sum += __builtin_popcount(bitmap[i]);
	return sum;
}

/* It tracks as if nothing had happened. Returns what is wrong, or NULL. */
static inline const char *is_well(struct __test_metadata *_metadata, struct faulty *faulty)
{
	const char *wrong = NULL;

	if (run_bounded(_metadata, faulty, op_start))
		return "the next START";
	if (write_mark(faulty))
		wrong = "the DMA";
	memset(faulty->bitmap, 0, BYTES);
	if (run_bounded(_metadata, faulty, op_read))
		wrong = "the next READ";
	if (marks_in(faulty->bitmap) != 3 || dirty_in(faulty->bitmap) != 3)
		wrong = "what the next READ reports";
	if (run_bounded(_metadata, faulty, op_stop))
		wrong = "the next STOP";
	return wrong;
}

static inline bool is_lost(struct faulty *faulty)
{
	struct pollfd pollfd = { .fd = faulty->tracking.fd, .events = POLLPRI };

	return poll(&pollfd, 1, 0) == 1;
}

static inline void faulty_init(struct faulty *faulty)
{
	vf_init(&faulty->vf);
	tracking_init(&faulty->tracking);
	faulty->control = -1;
}

static inline void faulty_close(struct faulty *faulty)
{
	if (faulty->control != -1)
		control_do(faulty->control, "forget");
	tracking_close(&faulty->tracking);
	vf_close(&faulty->vf);
	if (faulty->control != -1)
		close(faulty->control);
}

/* In a fixture's setup. */
#define test_faulty_open(faulty, way)                                           \
	({                                                                      \
		faulty_init(faulty);                                            \
		(faulty)->control = control_open();                             \
		ASSERT_NE(-1, (faulty)->control);                               \
		ASSERT_TRUE(control_do((faulty)->control, "forget"))            \
		{                                                               \
			TH_LOG(NO_CONTROL);                                     \
		}                                                               \
		(faulty)->left = count_trackers(faulty);                        \
		vf_open(_metadata, &(faulty)->vf, 0);                           \
		test_tracking_open(&(faulty)->tracking, way, &(faulty)->vf, POLICY_FAIL); \
	})

/*
 * For a table of both drivers:
 *
 *   # mlx5-fault <driver> <way> <step> <fault> <errno> <pages lost> <hung> <ms>
 */
static inline void tell(struct faulty *faulty, const char *step, const char *fault, int err,
			unsigned int lost, unsigned int hung, unsigned int ms)
{
	printf("# mlx5-fault %s %s %s %s %d %u %u %u\n", vf_driver(),
	       faulty->tracking.way == WAY_LOG ? "log" : "context", step, fault, -err, lost,
	       hung, ms);
}

#endif
