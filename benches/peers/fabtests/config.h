/*
 * Stands in for the config.h that fabtests' own configure script would write: Linux, no accelerators, no debugging.
 */
#define ENABLE_DEBUG 0
#define HAVE_CLOCK_GETTIME 1
#define HAVE_CUDA_DMABUF 0
#define HAVE_CUDA_RUNTIME_H 0
#define HAVE_EPOLL 1
#define HAVE_VERBS_DMABUF 0
#define HAVE_ZE 0
#define HAVE___INT128 1
