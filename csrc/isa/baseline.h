/* 128-bit vectors, which every processor of the platform has: SSE2 on x86-64, NEON on aarch64. */
#define ISA          baseline
#define VECTOR_BYTES 16
#define X86_PREFIX   _mm
#define TILE_VECTORS 4
#define K_IN_PAIRS   0
#define DEPTH        (32768 / VECTOR_BYTES) /* a panel of a pass: 128 KB of the second-level cache */
#define BAND_BYTES   (1 << 17)              /* a quarter of 512 KB of it */
#if defined(__aarch64__)
#define TILE_ROWS 6 /* 32 registers */
#else
/* 16 registers. Without FMA a splat, two instructions, costs more than a load. */
#define TILE_ROWS 3
#endif
