// The rows of the benchmark as one writes them in C for libbpf: typed raw tracepoints, per-CPU maps, and the same
// storage as slope chooses, so that the code is what differs. The name of a task is read from the task itself, which
// is faster than the helper; the logarithm is the usual one.
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define PROG SEC("tp_btf/bpf_trigger_tp") int
#define inline_ static inline __attribute__((always_inline))
#define unlikely(x) __builtin_expect(!!(x), 0)
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define MAP(name, kind, entries, k, v)       \
	struct {                             \
		__uint(type, kind);          \
		__uint(max_entries, entries); \
		__type(key, k);              \
		__type(value, v);            \
	} name SEC(".maps")

enum { HASH = 1, PERCPU_HASH = 5, PERCPU_ARRAY = 6, KEYS = 4096, NOEXIST = 1 };

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*map_delete)(void *map, const void *key) = (void *)3;
static u64 (*get_current_pid_tgid)(void) = (void *)14;
static u64 (*ktime_get_boot_ns)(void) = (void *)125;
static void *(*get_current_task_btf)(void) = (void *)158;

struct task_struct {
	char comm[16];
} __attribute__((preserve_access_index));

struct comm {
	u64 half[2];
};
struct hist {
	u64 bucket[66]; // negative numbers, 0, then one for each power of two
};
struct stats {
	u64 total, count;
};
enum { SCHEMA = 3, BUCKETS = (64 << SCHEMA) + 1 };
struct dist {
	u64 count, sum, zeros, bucket[BUCKETS];
};

inline_ struct comm current_comm(void)
{
	struct task_struct *task = get_current_task_btf();
	u64 *name = (u64 *)task->comm;
	return (struct comm){{name[0], name[1]}};
}

inline_ u32 current_pid(void) { return get_current_pid_tgid() >> 32; }
inline_ u32 current_tid(void) { return get_current_pid_tgid(); }

// find looks a value up, or makes it from zeros.
inline_ void *find(void *map, const void *key, const void *zeros)
{
	void *v = map_lookup(map, key);
	if (unlikely(!v)) {
		map_update(map, key, zeros, NOEXIST);
		v = map_lookup(map, key);
	}
	return v;
}

inline_ u32 log2_u32(u32 v)
{
	u32 shift, r;
	r = (v > 0xffff) << 4;
	v >>= r;
	shift = (v > 0xff) << 3;
	v >>= shift;
	r |= shift;
	shift = (v > 0xf) << 2;
	v >>= shift;
	r |= shift;
	shift = (v > 0x3) << 1;
	v >>= shift;
	r |= shift;
	return r | v >> 1;
}

inline_ u32 log2_u64(u64 v)
{
	u32 high = v >> 32;
	return high ? log2_u32(high) + 32 : log2_u32(v);
}

inline_ void hist_add(struct hist *h, u64 v)
{
	u32 i = v ? log2_u64(v) + 2 : 1;
	if (i < 66)
		h->bucket[i]++;
}

static const struct hist no_hist;
static const u64 zero;

MAP(counts, PERCPU_ARRAY, 1, u32, u64);
PROG count_all(u64 *ctx)
{
	u32 k = 0;
	u64 *n = map_lookup(&counts, &k);
	if (n)
		++*n;
	return 0;
}

MAP(comm_counts, PERCPU_HASH, KEYS, struct comm, u64);
PROG count_comm(u64 *ctx)
{
	struct comm k = current_comm();
	u64 *n = find(&comm_counts, &k, &zero);
	if (n)
		++*n;
	return 0;
}

MAP(pid_counts, PERCPU_HASH, KEYS, u64, u64);
PROG count_pid(u64 *ctx)
{
	u64 k = current_pid();
	u64 *n = find(&pid_counts, &k, &zero);
	if (n)
		++*n;
	return 0;
}

MAP(nsecs_hist, PERCPU_ARRAY, 1, u32, struct hist);
PROG hist_nsecs(u64 *ctx)
{
	u64 v = ktime_get_boot_ns();
	u32 k = 0;
	struct hist *h = map_lookup(&nsecs_hist, &k);
	if (h)
		hist_add(h, v);
	return 0;
}

MAP(comm_hist, PERCPU_HASH, KEYS, struct comm, struct hist);
PROG hist_comm(u64 *ctx)
{
	u64 v = ktime_get_boot_ns();
	struct comm k = current_comm();
	struct hist *h = find(&comm_hist, &k, &no_hist);
	if (h)
		hist_add(h, v);
	return 0;
}

MAP(arg_stats, PERCPU_ARRAY, 1, u32, struct stats);
PROG stats_arg(u64 *ctx)
{
	u32 k = 0;
	struct stats *s = map_lookup(&arg_stats, &k);
	if (s) {
		s->total += ctx[0];
		s->count++;
	}
	return 0;
}

MAP(arg_hist, PERCPU_ARRAY, 1, u32, struct hist);
PROG hist_arg(u64 *ctx)
{
	s64 v = ctx[0];
	u32 k = 0;
	struct hist *h = map_lookup(&arg_hist, &k);
	if (!h)
		return 0;
	if (unlikely(v < 0))
		h->bucket[0]++;
	else
		hist_add(h, v);
	return 0;
}

// The bounds between two powers of two: 2^63 * 2^(j/8) without the highest bit, rounded down.
static const u64 bounds[1 << SCHEMA] = {
	0, 834786490583865062ull, 1745127613690063215ull, 2737861647800547562ull,
	3820445788478006404ull, 5001012165147548381ull, 6288428927830289140ull, 7692366862698690862ull,
};

// dist_index is the bucket of v, whose upper bound is the first that is not less.
inline_ u32 dist_index(u64 v)
{
	u32 e = log2_u64(v), i = e << SCHEMA;
	u64 m = v << (63 - e) << 1 >> 1;
#pragma unroll
	for (int j = 0; j < 1 << SCHEMA; j++)
		i += m > bounds[j];
	return i;
}

static u64 lost;

MAP(arg_dist, PERCPU_ARRAY, 1, u32, struct dist);
PROG dist_arg(u64 *ctx)
{
	s64 v = ctx[0];
	u32 k = 0;
	struct dist *d = map_lookup(&arg_dist, &k);
	if (!d)
		return 0;
	if (unlikely(v < 0)) {
		v = 0;
		__sync_fetch_and_add(&lost, 1);
	}
	d->count++;
	d->sum += v;
	if (!v) {
		d->zeros++;
		return 0;
	}
	u32 i = dist_index(v);
	if (i < BUCKETS)
		d->bucket[i]++;
	return 0;
}

MAP(starts, HASH, KEYS, u64, u64);
MAP(deltas, PERCPU_ARRAY, 1, u32, struct hist);
PROG pair(u64 *ctx)
{
	u64 k = current_tid();
	int nonce = ctx[0];
	if (nonce == 1) {
		u64 now = ktime_get_boot_ns();
		map_update(&starts, &k, &now, 0);
	} else if (nonce == 2) {
		u64 *start = map_lookup(&starts, &k);
		if (!start || !*start)
			return 0;
		u64 delta = ktime_get_boot_ns() - *start;
		u32 z = 0;
		struct hist *h = map_lookup(&deltas, &z);
		if (h)
			hist_add(h, delta);
		map_delete(&starts, &k);
	}
	return 0;
}

char licence[] SEC("license") = "GPL";
