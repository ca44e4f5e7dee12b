//go:build !purego

#include "textflag.h"

// In both kernels: DI is where the next hit goes and R8 the last place with room
// for a vector of them; SI the hashes, R9 how many there are in whole vectors and
// BX how many of these are done.

// order is where the eight sums that scanAVX512 ends up with belong.
DATA order<>+0(SB)/8, $0
DATA order<>+8(SB)/8, $2
DATA order<>+16(SB)/8, $1
DATA order<>+24(SB)/8, $3
DATA order<>+32(SB)/8, $4
DATA order<>+40(SB)/8, $6
DATA order<>+48(SB)/8, $5
DATA order<>+56(SB)/8, $7
GLOBL order<>(SB), RODATA|NOPTR, $64

// func scanAVX512(hits *[hitsMax]hit, hashes []Hash, q *Hash, threshold int) (done, found int)
TEXT ·scanAVX512(SB), NOSPLIT, $64-64
	MOVQ            hits+0(FP), DI
	LEAQ            (64*8-8*8)(DI), R8
	MOVQ            hashes_base+8(FP), SI
	MOVQ            hashes_len+16(FP), R9
	ANDQ            $-8, R9
	MOVQ            q+32(FP), AX
	VBROADCASTI64X4 (AX), Z0
	VPBROADCASTQ    threshold+40(FP), Z1
	VMOVDQU64       order<>(SB), Z2
	XORL            BX, BX
	CMPQ            BX, R9
	JAE             done

vector:
	VPXORQ   (SI), Z0, Z3      // hashes 0 and 1
	VPXORQ   64(SI), Z0, Z4    // 2 and 3
	VPXORQ   128(SI), Z0, Z5   // 4 and 5
	VPXORQ   192(SI), Z0, Z6   // 6 and 7
	VPOPCNTQ Z3, Z3
	VPOPCNTQ Z4, Z4
	VPOPCNTQ Z5, Z5
	VPOPCNTQ Z6, Z6

	// Add the words of each hash, two by two, in a register each for the even
	// and the odd ones: 0 2 0 2 1 3 1 3, then 0 2 1 3 4 6 5 7.
	VPUNPCKLQDQ Z4, Z3, Z7
	VPUNPCKHQDQ Z4, Z3, Z8
	VPADDQ      Z7, Z8, Z3
	VPUNPCKLQDQ Z6, Z5, Z7
	VPUNPCKHQDQ Z6, Z5, Z8
	VPADDQ      Z7, Z8, Z5
	VSHUFI64X2  $0x88, Z5, Z3, Z7
	VSHUFI64X2  $0xdd, Z5, Z3, Z8
	VPADDQ      Z7, Z8, Z3
	VPCMPQ      $2, Z1, Z3, K1
	KORTESTB    K1, K1
	JNZ         store

advance:
	ADDQ $8, BX
	ADDQ $256, SI
	CMPQ BX, R9
	JB   vector

done:
	SUBQ hits+0(FP), DI
	SHRQ $3, DI
	MOVQ BX, done+48(FP)
	MOVQ DI, found+56(FP)
	VZEROUPPER
	RET

store:
	CMPQ      DI, R8
	JA        done
	VPERMQ    Z3, Z2, Z3
	VPCMPQ    $2, Z1, Z3, K1
	KMOVB     K1, AX
	VMOVDQU64 Z3, distances-64(SP)

each:
	BSFQ AX, CX
	MOVL distances-64(SP)(CX*8), DX
	ADDL BX, CX
	MOVL CX, (DI)
	MOVL DX, 4(DI)
	ADDQ $8, DI
	LEAL -1(AX), CX
	ANDL CX, AX
	JNZ  each
	JMP  advance

#define BYTECOUNTS(y, t) \
	VPAND   Y6, y, t; \
	VPSRLW  $4, y, y; \
	VPAND   Y6, y, y; \
	VPSHUFB t, Y5, t; \
	VPSHUFB y, Y5, y; \
	VPADDB  t, y, y; \
	VPSADBW Y7, y, y

// func scanAVX2(hits *[hitsMax]hit, hashes []Hash, q *Hash, threshold int) (done, found int)
TEXT ·scanAVX2(SB), NOSPLIT, $32-64
	MOVQ           hits+0(FP), DI
	LEAQ           (64*8-4*8)(DI), R8
	MOVQ           hashes_base+8(FP), SI
	MOVQ           hashes_len+16(FP), R9
	ANDQ           $-4, R9
	MOVQ           q+32(FP), AX
	VMOVDQU        (AX), Y0
	VPBROADCASTQ   threshold+40(FP), Y1
	VBROADCASTI128 nibbleCounts<>(SB), Y5
	VBROADCASTI128 lowNibbles<>(SB), Y6
	VPXOR          Y7, Y7, Y7
	XORL           BX, BX
	CMPQ           BX, R9
	JAE            done

vector:
	VPXOR (SI), Y0, Y8
	VPXOR 32(SI), Y0, Y9
	VPXOR 64(SI), Y0, Y10
	VPXOR 96(SI), Y0, Y11
	BYTECOUNTS(Y8, Y12)
	BYTECOUNTS(Y9, Y13)
	BYTECOUNTS(Y10, Y14)
	BYTECOUNTS(Y11, Y15)

	// Add the words of each hash: 0 1 0 1 and 2 3 2 3, then 0 1 2 3.
	VPUNPCKLQDQ Y9, Y8, Y12
	VPUNPCKHQDQ Y9, Y8, Y13
	VPADDQ      Y12, Y13, Y8
	VPUNPCKLQDQ Y11, Y10, Y12
	VPUNPCKHQDQ Y11, Y10, Y13
	VPADDQ      Y12, Y13, Y10
	VPERM2I128  $0x20, Y10, Y8, Y12
	VPERM2I128  $0x31, Y10, Y8, Y13
	VPADDQ      Y12, Y13, Y8
	VPCMPGTQ    Y1, Y8, Y9
	VMOVMSKPD   Y9, AX
	XORL        $15, AX
	JNZ         store

advance:
	ADDQ $4, BX
	ADDQ $128, SI
	CMPQ BX, R9
	JB   vector

done:
	SUBQ hits+0(FP), DI
	SHRQ $3, DI
	MOVQ BX, done+48(FP)
	MOVQ DI, found+56(FP)
	VZEROUPPER
	RET

store:
	CMPQ    DI, R8
	JA      done
	VMOVDQU Y8, distances-32(SP)

each:
	BSFQ AX, CX
	MOVL distances-32(SP)(CX*8), DX
	ADDL BX, CX
	MOVL CX, (DI)
	MOVL DX, 4(DI)
	ADDQ $8, DI
	LEAL -1(AX), CX
	ANDL CX, AX
	JNZ  each
	JMP  advance

DATA nibbleCounts<>+0(SB)/8, $0x0302020102010100
DATA nibbleCounts<>+8(SB)/8, $0x0403030203020201
GLOBL nibbleCounts<>(SB), RODATA|NOPTR, $16

DATA lowNibbles<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA lowNibbles<>+8(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL lowNibbles<>(SB), RODATA|NOPTR, $16
